"""An index of what a crawl has kept, so that the next one is compared with it without its text being read again.

    docs id, url; signatures exact, sketch; the verdicts on them  ->  files of `hare_ray.dedup.index_files`

Of every row without a reason it holds the exact hash and the sketch (16 + 112 bytes at 14 bands of 8), the sorted keys
of its bands (12 each, 168), the id (16 + 20) and the URL: 332 bytes and a compressed URL, or about 350 GB for a billion
documents, where their text takes some 3 TB. A crawl that was itself compared with indexes gives one of what was new,
and the next crawl takes them all.

Documents that are to be forgotten are dropped from the verdicts' base or given a reason: the index is then made anew,
from signatures, and again no text is read.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hare_ray.dedup.signature import Signature
from hare_ray.stage import Make, Table

if TYPE_CHECKING:
    from hare_ray.dedup.plan import Work
    from hare_ray.gather import Desk

FILE_BYTES = 64 << 20
"""Of a file of the index, about."""

BAND_BYTES = 12
"""Key and rank of a band."""


class DuplicateIndex(Make):
    """Files that `Duplicates` of a later crawl takes among `known`."""

    docs: Table
    signatures: Signature
    duplicates: Table
    """Verdicts on the documents; rows without a reason are in the index."""
    memory_bytes: int = 1 << 30
    """What one task may hold."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("numba",)
    unidentified: ClassVar[frozenset[str]] = frozenset({"label", "memory_bytes"})

    def __post_init__(self) -> None:
        """Refuse tables of other documents."""
        for table in (self.signatures, self.duplicates):
            if table.base is not self.docs.base:
                raise ValueError(
                    f"{self!r} joins documents on base {self.docs.base!r} with {table!r} on base {table.base!r}; "
                    "make it from these documents"
                )
        if "reason" not in self.duplicates.schema().names:
            raise ValueError(f"{self!r}: given {self.duplicates!r} without a column `reason`; expected verdicts")

    def make(self, desk: Desk) -> dict[str, int]:
        """Sort what is kept, file by file."""
        from hare_ray.dedup.index_files import SETTINGS, name, signature_settings
        from hare_ray.dedup.plan import Work, bits_of, plan_of

        rows, signatures = desk.rows(self.docs), self.signatures
        plan = plan_of(rows, (signatures.bands, signatures.sketch_bytes), self.memory_bytes)
        total = sum(rows)
        text_bytes, band_bytes = total * (16 + signatures.sketch_bytes), total * signatures.bands * BAND_BYTES
        bits, band_bits = (bits_of(-(-size // FILE_BYTES)) for size in (text_bytes, band_bytes))
        plan = replace(plan, bits=bits, band_bits=band_bits)
        work = Work(desk, plan, self.memory_bytes, self.docs, signatures, verdicts=self.duplicates)
        work.run(_spill_kept, range(len(plan.groups)))
        texts = work.run(_index_texts, range(plan.partitions))
        work = replace(work, plan=replace(plan, starts=tuple(accumulate(texts, initial=0))))
        if sum(texts) > 1 << 32:
            raise ValueError(f"{self!r}: given {sum(texts)} kept rows, expected up to 2^32; make several indexes")
        bands = work.run(_index_bands, range(1 << plan.band_bits))
        ids = work.run(_index_ids, range(plan.partitions))
        for kind, files in (("texts", plan.partitions), ("records", plan.partitions), ("ids", plan.partitions)):
            for file in range(files):
                (desk.folder / name(kind, file)).write_bytes(work.get(f"{kind}-{file}"))
        for file in range(1 << plan.band_bits):
            (desk.folder / name("bands", file)).write_bytes(work.get(f"bands-{file}"))
        settings = {
            "signature": signature_settings(signatures),
            "texts": texts,
            "bands": bands,
            "ids": ids,
        }
        (desk.folder / SETTINGS).write_text(json.dumps(settings, sort_keys=True, indent=1))
        return {"rows": total, "texts": sum(texts)}


def _spill_kept(work: Work, group: int) -> None:
    """Write the kept rows of a group, cut by the file they go into."""
    from hare_ray.dedup.runs import column, cut, fixed_bytes, halves, hashed, leading, pack

    assert work.verdicts is not None
    wide, ids, sketch, urls = [], [], [], []
    for part in work.plan.groups[group]:
        signed = work.desk.read(work.signatures, part, ["exact", "sketch"])
        reason = column(work.desk.read(work.verdicts, part, ["reason"]), "reason")
        kept = np.asarray(reason.is_null()) & np.asarray(column(signed, "exact").is_valid())
        chosen = pa.array(np.flatnonzero(kept))
        signed, docs = signed.take(chosen), work.desk.read(work.docs, part, ["id", "url"]).take(chosen)
        wide.append(halves(column(signed, "exact")))
        sketch.append(fixed_bytes(column(signed, "sketch")))
        ids.append(halves(column(docs, "id")))
        urls.append(docs.select(["url"]))
    exact, id_, bytes_ = np.concatenate(wide), np.concatenate(ids), np.concatenate(sketch)
    url = pa.concat_tables(urls)
    for file, chosen in cut(leading(hashed(exact), work.plan.bits), work.plan.partitions):
        work.put(f"text-{group}-{file}", pack(exact[chosen], id_[chosen], bytes_[chosen]))
        work.put(f"url-{group}-{file}", _parquet(url.take(pa.array(chosen))))


def _index_texts(work: Work, file: int) -> int:
    """Sort the texts of one file; the keys of its bands, and its ids, go on to their own."""
    from hare_ray.dedup.runs import WIDE, binary, cut, distinct, hashed, leading, pack, unpacked
    from hare_ray.dedup.texts import spill_bands

    groups = range(len(work.plan.groups))
    layout = (WIDE, WIDE, ("u1", work.signatures.sketch_bytes))
    exact, ids, sketch = unpacked((work.get(f"text-{group}-{file}") for group in groups), layout)
    order, _ = distinct(exact, work.plan.bits)
    exact, ids, sketch = exact[order], ids[order], sketch[order]
    work.put(f"texts-{file}", pack(exact, sketch))
    urls = [pq.read_table(io.BytesIO(work.get(f"url-{group}-{file}"))) for group in groups]
    url = pa.concat_tables(urls) if urls else pa.table({"url": pa.array([], pa.string())})
    record = {"id": binary(ids.view(np.uint8)), "url": url.column("url").take(pa.array(order))}
    work.put(f"records-{file}", _parquet(pa.table(record)))
    spill_bands(work, f"band-{file}", sketch)
    for other, chosen in cut(leading(hashed(ids), work.plan.bits), work.plan.partitions):
        work.put(f"id-{file}-{other}", pack(ids[chosen], chosen.astype(np.uint32)))
    return len(exact)


def _index_bands(work: Work, file: int) -> int:
    """Sort the keys of one file; how many they are."""
    from hare_ray.dedup.runs import pack, sorted_order, unpack

    tables = [unpack(work.get(f"band-{text}-{file}"), (("u8", 1), ("u4", 1))) for text in range(work.plan.partitions)]
    keys = np.concatenate([key for key, _ in tables])
    ranks = [rank + np.uint32(start) for (_, rank), (start, _) in zip(tables, pairwise(work.plan.starts), strict=True)]
    order, keys = sorted_order(keys, work.plan.band_bits)
    work.put(f"bands-{file}", pack(keys, np.concatenate(ranks)[order]))
    return len(keys)


def _index_ids(work: Work, file: int) -> int:
    """Sort the ids of one file; how many they are."""
    from hare_ray.dedup.runs import WIDE, distinct, pack, unpack

    tables = [unpack(work.get(f"id-{text}-{file}"), (WIDE, ("u4", 1))) for text in range(work.plan.partitions)]
    ids = np.concatenate([wide for wide, _ in tables])
    ranks = [rank + np.uint32(start) for (_, rank), (start, _) in zip(tables, pairwise(work.plan.starts), strict=True)]
    order, _ = distinct(ids, work.plan.bits)
    work.put(f"ids-{file}", pack(ids[order], np.concatenate(ranks)[order]))
    return len(ids)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", write_statistics=False)
    return sink.getvalue()
