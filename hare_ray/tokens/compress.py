"""A compact tokenizer out of a large one: the entries that earn their place in this corpus.

    tokenizer (N entries), counts -> the tokenizer's files with V entries, ids 0 to V - 1
                                     remap.npy     int32 [N]: new id, -1 for dropped: for the rows of an embedding
                                     sizes.json    what sizes cover and cost, the proposal, the choice

The method is that of PanGu-pi Pro (arXiv 2402.02791, section 2.1); see `hare_ray.tokens.vocabulary` for the rule that
proposes V and for what is dropped, `byte_pairs` and `sentence_pieces` for the formats. Whatever text came back from
encoding and decoding still does. A folder with tokenizer.json gives one, with tokenizer_config.json and
special_tokens_map.json where it has them. A folder with a SentencePiece .model alone gives a .model and the
tokenizer.json that makes the same tokens.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hare_ray.stage import Make, Stage
from hare_ray.tokens import byte_pairs, sentence_piece_json, sentence_pieces
from hare_ray.tokens.token_counts import COUNTS, TokenCounts
from hare_ray.tokens.tokenizer import CONFIG_FILE, SPECIALS_FILE, TOKENIZER_FILE
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

    folder: Path
    tokenizer: dict[str, Any] | None
    """tokenizer.json, if there is one."""
    model: Any
    """The SentencePiece model otherwise."""

    @classmethod
    def of(cls, folder: Path) -> Files:
        """Read a folder; tokenizer.json counts where both are."""
        path = folder / TOKENIZER_FILE
        if path.exists():
            return cls(folder, json.loads(path.read_text(encoding="utf-8")), None)
        return cls(folder, None, sentence_pieces.read(folder))

    def entries(self) -> Entries:
        """What there is to choose from."""
        return byte_pairs.entries(self.tokenizer) if self.tokenizer else sentence_pieces.entries(self.model)

    def write(self, remap: NDArray[np.int32], folder: Path) -> None:
        """The same files with the entries that are kept."""
        if self.tokenizer:
            tokenizer = byte_pairs.pruned(self.tokenizer, remap)
            settings = {name: self.settings(name) for name in (CONFIG_FILE, SPECIALS_FILE)}
            settings[CONFIG_FILE] = byte_pairs.config(settings[CONFIG_FILE], remap)
        else:
            model = sentence_pieces.pruned(self.model, remap)
            (folder / "tokenizer.model").write_bytes(model.SerializeToString(deterministic=True))
            tokenizer, specials = sentence_piece_json.converted(model), sentence_pieces.specials(model)
            class_ = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
            settings = {CONFIG_FILE: {**class_, **specials}, SPECIALS_FILE: specials}
        (folder / TOKENIZER_FILE).write_text(json.dumps(tokenizer, ensure_ascii=False, indent=1), encoding="utf-8")
        for name, content in settings.items():
            if content:
                (folder / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    def settings(self, name: str) -> dict[str, Any]:
        """A JSON file beside tokenizer.json; empty where there is none."""
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
