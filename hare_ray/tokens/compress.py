"""A compact tokenizer out of a large one: the entries that earn their place in this corpus.

    tokenizer (N entries), counts -> the tokenizer's files with V entries, ids 0 to V - 1
                                     remap.npy     int32 [N]: new id, -1 for dropped: for the rows of an embedding
                                     sizes.json    what sizes cover and cost, the proposal, the choice

The method is that of PanGu-pi Pro (arXiv 2402.02791, section 2.1); see `hare_ray.tokens.vocabulary` for the rule that
proposes V and for what is dropped, `byte_pairs` and `sentence_pieces` for the formats. Whatever text came back from
encoding and decoding still does. A folder with tokenizer.json gives one, with tokenizer_config.json and
special_tokens_map.json where it has them. A folder with a SentencePiece .model alone gives a .model and the
tokenizer.json that makes the same tokens. What any of the files names, as <pad>, is kept.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hare_ray import tokenizer_files
from hare_ray.stage import Make, Stage
from hare_ray.tokens import byte_pairs, sentence_pieces
from hare_ray.tokens.given import beginning, files_of
from hare_ray.tokens.sentence_piece_json import converted
from hare_ray.tokens.token_counts import COUNTS, TokenCounts
from hare_ray.tokens.vocabulary import Entries, Size, Sized, proposed, share, shown, sizes

if TYPE_CHECKING:
    from hare_ray.gather import Desk

REMAP, SIZES = "remap.npy", "sizes.json"

logger = logging.getLogger(__name__)


class CompressedTokenizer(Make):
    """The tokenizer with the entries that the corpus wants most."""

    tokenizer: Stage
    """What `counts` counted."""
    counts: TokenCounts
    shape: Sized
    """A `hare_ray.model.shape.Shape`: the model it is for, whatever its vocabulary."""
    vocabulary: int | None
    """Entries to keep; None: what the rule proposes."""

    imports: ClassVar[tuple[str, ...]] = ("tokenizers",)
    code: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse counts of another tokenizer."""
        if self.counts.tokenizer.fingerprint != self.tokenizer.fingerprint:
            raise ValueError(f"{self!r}: given counts of {self.counts.tokenizer!r}, expected of {self.tokenizer!r}")

    def make(self, desk: Desk) -> dict[str, int]:
        """Choose, prune, write; returns the entries before and after, and the tokens that are kept entries."""
        files = Files.of(desk.files(self.tokenizer))
        counts = np.load(desk.files(self.counts) / COUNTS)
        entries = files.entries()
        dropping = entries.dropping(counts)
        candidates = sizes(dropping, counts, self.shape)
        self.check(entries, dropping)
        vocabulary = self.vocabulary or proposed(candidates).vocabulary
        remap = entries.remap(dropping, vocabulary)
        covered = int(counts[remap >= 0].sum())
        chosen = Size(vocabulary, covered / int(counts.sum()), share(self.shape, vocabulary))
        logger.info("%r keeps %s of %d", self, chosen, len(entries))
        np.save(desk.folder / REMAP, remap)
        (desk.folder / SIZES).write_text(json.dumps(told(candidates, chosen), indent=1) + "\n")
        files.write(remap, desk.folder)
        return {"entries": len(entries), "vocabulary": vocabulary, "tokens": int(counts.sum()), "covered": covered}

    def check(self, entries: Entries, dropping: NDArray[np.int64]) -> None:
        """Refuse a number of entries that cannot be."""
        least = len(entries) - len(dropping)
        if self.vocabulary is not None and not least <= self.vocabulary <= len(entries):
            raise ValueError(
                f"{self!r}: given vocabulary={self.vocabulary}, expected {least} (specials and what spells any text) "
                f"to {len(entries)} (all there are)"
            )


def told(candidates: list[Size], chosen: Size) -> dict[str, Any]:
    """What sizes.json says."""
    try:
        proposal, why = asdict(proposed(candidates)), "the largest with embedding and head below their share"
    except ValueError as error:
        proposal, why = None, str(error)
    return {
        "chosen": asdict(chosen),
        "proposed": proposal,
        "why": why,
        "sizes": [asdict(size) for size in shown(candidates)],
    }


@dataclass(frozen=True)
class Files:
    """The files of a tokenizer, of either format."""

    contents: tokenizer_files.Contents
    """Those of the folder, or those made of its .model."""
    model: Any
    """The SentencePiece model; None where there was a tokenizer.json, which counts where both are."""

    @classmethod
    def of(cls, folder: Path) -> Files:
        """Read a folder."""
        there = (folder / tokenizer_files.TOKENIZER).exists()
        return cls(files_of(folder), None if there else sentence_pieces.read(folder))

    def told(self, name: str) -> dict[str, Any]:
        """What a file says."""
        return json.loads(self.contents[name])

    def entries(self) -> Entries:
        """What there is to choose from; what any file names stays."""
        if self.model is None:
            found = byte_pairs.entries(self.told(tokenizer_files.TOKENIZER))
        else:
            found = sentence_pieces.entries(self.model)
        fixed = found.fixed.copy()
        fixed[list(tokenizer_files.named_beside(self.contents))] = True
        return replace(found, fixed=fixed)

    def write(self, remap: NDArray[np.int32], folder: Path) -> None:
        """The same files with the entries that are kept."""
        files = dict(self.contents)
        if self.model is None:
            tokenizer = byte_pairs.pruned(self.told(tokenizer_files.TOKENIZER), remap)
        else:
            model = sentence_pieces.pruned(self.model, remap)
            (folder / "tokenizer.model").write_bytes(model.SerializeToString(deterministic=True))
            tokenizer = converted(model, beginning(self.told(tokenizer_files.CONFIG)))
        files[tokenizer_files.TOKENIZER] = tokenizer_files.as_tokenizer(tokenizer)
        if tokenizer_files.CONFIG in files:
            config = byte_pairs.config(self.told(tokenizer_files.CONFIG), remap)
            files[tokenizer_files.CONFIG] = tokenizer_files.as_json(config)
        for name, data in files.items():
            (folder / name).write_bytes(data)
