"""Where the documents of a topic come from: its largest sources, in bounded memory.

    url, file [, source] + cluster -> cluster int32, source large_string, rows int64

A document's source is its column `source` where there is one, else the host of its URL without a leading "www.", else
its file. A topic of a web crawl has more hosts than anything should hold, so only the `keep` largest of every topic are
carried on, less the count of the largest that is left out, which is the Misra-Gries summary in the form that can be
merged (Agarwal et al., Mergeable Summaries, PODS 2012): a count is never too high, and too low by at most
rows / (keep + 1) of the topic. Where a topic has no more than `keep` sources, counts are exact.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hare_ray.cluster.words import ranks

MAX_SOURCES = 64
"""Of a topic that are carried on: a source with more than 1.6 percent of its documents is never lost."""

HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?:[wW]{3}\.)?(?P<host>[^/?#:]+)"

NO_SOURCES = pa.schema([("cluster", pa.int32()), ("source", pa.large_string()), ("rows", pa.int64())])


def source_of(docs: pa.Table) -> pa.ChunkedArray:
    """The source of every document."""
    if "source" in docs.column_names:
        return docs.column("source").cast(pa.large_string())
    hosts = pc.extract_regex(docs.column("url").cast(pa.large_string()), HOST)
    found = pc.utf8_lower(pc.struct_field(hosts, [0]))
    return pc.coalesce(found, docs.column("file").cast(pa.large_string()))


def count_sources(docs: pa.Table, cluster: NDArray[np.int32]) -> pa.Table:
    """Documents by topic and source."""
    return _summed(
        pa.table([pa.array(cluster, pa.int32()), pc.fill_null(source_of(docs), ""), np.ones(len(docs), np.int64)],
                 schema=NO_SOURCES)
    )  # fmt: skip


def merged(one: pa.Table, other: pa.Table, keep: int) -> pa.Table:
    """Both counts together, of every topic the `keep` largest."""
    if not len(one) and not len(other):
        return one
    both = _summed(pa.concat_tables([one, other]))
    cluster, rows = both.column("cluster").to_numpy(), both.column("rows").to_numpy()
    place = ranks(cluster)
    lost = np.zeros(int(cluster.max()) + 1, np.int64)
    lost[cluster[place == keep]] = rows[place == keep]
    left = rows - lost[cluster]
    stays = pa.array(left > 0)
    return both.set_column(2, "rows", pa.array(left)).filter(stays)


def _summed(counts: pa.Table) -> pa.Table:
    """Largest first within each topic; of equal ones the first in the alphabet."""
    added = counts.group_by(["cluster", "source"], use_threads=False).aggregate([("rows", "sum")])
    added = added.rename_columns({"rows_sum": "rows"}).select(NO_SOURCES.names)
    keys = [("cluster", "ascending"), ("rows", "descending"), ("source", "ascending")]
    return added.sort_by(keys).cast(NO_SOURCES)


def largest(counts: pa.Table, name: int, shown: int) -> list[dict[str, str | int]]:
    """The largest sources of a topic: source and rows."""
    start, stop = np.searchsorted(counts.column("cluster").to_numpy(), [name, name + 1])
    return counts.slice(int(start), int(min(stop - start, shown))).select(["source", "rows"]).to_pylist()
