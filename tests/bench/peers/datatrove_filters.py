"""datatrove's four filters over a JSONL file, for tests/bench/filters.py; runs in datatrove's own venv.

    datatrove_filters.py time IN.jsonl                       one line of JSON: seconds by filter, and together
    datatrove_filters.py decide IN.jsonl OUT.npz OUT.json    tokens as byte spans; reasons by filter

Together means all four on one document before the next: datatrove remembers the tokens of its last five texts, so each
text is tokenised once, which is how its pipelines run.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.utils.text import split_into_words

FILTERS = {
    "gopher_repetition": GopherRepetitionFilter,
    "gopher_quality": GopherQualityFilter,
    "fineweb": FineWebQualityFilter,
    "c4": C4QualityFilter,
}


def verdict(one, text: str) -> str:
    """The reason to drop the text; empty where it stays."""
    answer = one.filter(Document(text=text, id="0"))
    return answer[1] if isinstance(answer, tuple) else ("" if answer else "dropped")


def timed(filters: list, texts: list[str]) -> float:
    """Seconds of all `filters` over all texts."""
    began = time.perf_counter()
    for text in texts:
        for one in filters:
            verdict(one, text)
    return time.perf_counter() - began


def spans(text: str) -> tuple[list[int], list[int]]:
    """Where its tokens start and end in bytes."""
    edges = np.zeros(len(text) + 1, np.int64)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    np.cumsum(1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF), out=edges[1:])
    at, starts, ends = 0, [], []
    for token in split_into_words(text):
        start = text.index(token, at)
        at = start + len(token)
        starts.append(int(edges[start]))
        ends.append(int(edges[at]))
    return starts, ends


def main() -> None:
    """Time, or decide."""
    task, source, *out = sys.argv[1:]
    texts = [json.loads(line)["text"] for line in Path(source).read_text(encoding="utf-8").splitlines()]
    filters = {name: kind() for name, kind in FILTERS.items()}
    split_into_words("Loads the tokenizer.")
    if task == "time":
        seconds = {name: timed([one], texts) for name, one in filters.items()}
        together = timed(list(filters.values()), texts)
        peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
        print(json.dumps({**seconds, "together": together, "peak_mb": peak}))
        return
    found, reasons = [], {name: [] for name in filters}
    for text in texts:
        found.append(spans(text))
        for name, one in filters.items():
            reasons[name].append(verdict(one, text))
    counts = [len(starts) for starts, _ in found]
    np.savez(
        out[0],
        offsets=np.cumsum([0, *counts]).astype(np.int64),
        starts=np.array([start for starts, _ in found for start in starts], np.int32),
        ends=np.array([end for _, ends in found for end in ends], np.int32),
    )
    Path(out[1]).write_text(json.dumps(reasons))


if __name__ == "__main__":
    main()
