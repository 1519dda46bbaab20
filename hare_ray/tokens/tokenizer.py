"""The vocabulary of the model, learnt from its own corpus: byte-level byte-pair encoding (BPE).

    text -> tokenizer.json, tokenizer_config.json, special_tokens_map.json   (transformers, vLLM, lm-eval load them)

Bytes: all 256 are in the vocabulary from the start, so every text has an encoding without <unk>, and decoding gives
back the very bytes: nothing is normalised. This is what a byte fallback is for, without a second kind of token.

Where a text is cut before pairs are joined (`CUTS`; the rules of Qwen2, which are those of GPT-4 but for digits):
    words      one or more letters, with the space or other sign before them
    digits     each alone, as in the tokenizers of Llama and Mistral (whose vocabulary the HARE paper takes over):
               numbers are spelt by place value and not by what was frequent; the space before one is a token too
    signs      runs of them, with the space before and the line ends after
    line ends  runs of them, with the blanks of empty lines between
    blanks     runs of spaces and tabs without the last, which goes with the word that follows: an indentation is one
               token where it is frequent
Against GPT-2's rules with single digits that takes 1 % fewer tokens for Wikipedia, 4 to 6 % for marked-up text and 7 to
11 % for Python code (vocabularies of 8,000 and 32,000), because lines end in the token before and "(x" is one word.

A vocabulary of one's own, because in a small model the embedding is a large part of the parameters and every entry
should earn its place on this corpus.

<unk> 0, <s> 1, </s> 2, <pad> 3. The post-processor puts <s> in front, so whoever loads the files begins a text as
training did. `split_special_tokens`: a page that spells out "</s>" is text, not the end of a document.

What it learns from: at most `max_bytes`, every part in proportion to its rows, documents of a part in an order that is
spread evenly over it. Reading holds one part at a time. The counts do not depend on the order of the text and ties are
broken by token number, so equal text gives equal files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hare_ray import tokenizer_files
from hare_ray.stage import Make, Table
from hare_ray.tokens.given import files_of

if TYPE_CHECKING:
    from hare_ray.gather import Desk

UNKNOWN, BEGIN, END, PAD = "<unk>", "<s>", "</s>", "<pad>"
SPECIALS = (UNKNOWN, BEGIN, END, PAD)
"""In the order of their ids."""

BYTES = 256
SMALLEST = len(SPECIALS) + BYTES

MIN_FREQUENCY = 2
"""A pair that was seen once tells nothing of the language; a vocabulary that needs such pairs is too large."""

CUTS = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
"""English endings, words, digits, signs, line ends, blanks before a word's own, blanks at the end."""

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio: its multiples, modulo 2^64, are spread as evenly as can be, however many are taken."""

ENCODED_BYTES = 4 << 20
"""Text encoded at a time: an encoding holds a hundred bytes per token until its ids are taken out."""

CONFIG = {
    **tokenizer_files.LOADS,
    "bos_token": BEGIN,
    "eos_token": END,
    "unk_token": UNKNOWN,
    "pad_token": PAD,
    "split_special_tokens": True,
}


class Tokenizer(Make):
    """A byte-level BPE tokenizer of exactly `vocabulary` entries."""

    docs: Table
    vocabulary: int
    """Entries, with the 4 specials and 256 bytes."""
    max_bytes: int
    """Text to learn from, at most."""

    code: ClassVar[int] = 2
    imports: ClassVar[tuple[str, ...]] = ("tokenizers",)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.vocabulary < SMALLEST:
            raise ValueError(
                f"{self!r}: given vocabulary={self.vocabulary}, expected at least {SMALLEST}: "
                f"{len(SPECIALS)} specials and {BYTES} bytes"
            )
        if self.max_bytes < 1:
            raise ValueError(f"{self!r}: given max_bytes={self.max_bytes}, expected at least 1")

    def make(self, desk: Desk) -> dict[str, int]:
        """Learn the merges, write the files; returns the documents and bytes looked at."""
        reading = Reading(desk, self.docs, self.max_bytes)
        tokenizer = trained(reading.texts(), self.vocabulary)
        got = tokenizer.get_vocab_size()
        if got != self.vocabulary:
            raise ValueError(
                f"{self!r}: given vocabulary={self.vocabulary}, but {reading.bytes} bytes of text (max_bytes="
                f"{self.max_bytes}) hold only {got} tokens that occur {MIN_FREQUENCY} times or more; "
                f"expected more text, or a vocabulary of at most {got}"
            )
        tokenizer.save(str(desk.folder / tokenizer_files.TOKENIZER))
        specials = {key: value for key, value in CONFIG.items() if key.endswith("_token")}
        for name, content in ((tokenizer_files.CONFIG, CONFIG), (tokenizer_files.SPECIAL, specials)):
            (desk.folder / name).write_bytes(tokenizer_files.as_json(content))
        return {"documents": reading.documents, "text_bytes": reading.bytes}


def trained(texts: Iterator[list[str]], vocabulary: int) -> Any:
    """A `tokenizers.Tokenizer` of at most `vocabulary` entries; fewer where the text gives no more."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer: Any = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CUTS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=MIN_FREQUENCY,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, SPECIALS.index(BEGIN))]
    )
    return tokenizer


def loaded(folder: Path) -> Any:
    """That of a folder with a tokenizer.json or a SentencePiece .model, as corpora are encoded."""
    return library_tokenizer(files_of(folder))


def library_tokenizer(files: tokenizer_files.Contents) -> Any:
    """A `tokenizers.Tokenizer`, on one thread, for whole texts, with specials that a text spells out as that text."""
    # A worker has one core; the library would take all of the machine for itself.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_buffer(files[tokenizer_files.TOKENIZER])
    tokenizer.encode_special_tokens = True
    # A tokenizer.json keeps how it was last used: documents would be cropped, or filled with <pad>,
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # and joins left out at random, which is for texts that are encoded anew in every epoch.
    if getattr(tokenizer.model, "dropout", None):
        tokenizer.model.dropout = None
    return tokenizer


def batches(text: pa.ChunkedArray) -> Iterator[list[str]]:
    """The texts of a column, some megabytes at a time."""
    text = text.drop_null()
    stops = np.cumsum(pc.binary_length(text).to_numpy())
    at = 0
    while at < len(text):
        until = max(at + 1, int(np.searchsorted(stops, (stops[at - 1] if at else 0) + ENCODED_BYTES, side="right")))
        yield text.slice(at, until - at).to_pylist()
        at = until


@dataclass
class Reading:
    """The texts to learn from, part by part, and how much they were."""

    desk: Desk
    docs: Table
    max_bytes: int
    documents: int = 0
    bytes: int = 0

    def texts(self) -> Iterator[list[str]]:
        """A list per part. What a part leaves of its share goes to those after it."""
        rows = self.desk.rows(self.docs)
        rows_left = sum(rows)
        for part, count in enumerate(rows):
            if count:
                share = (self.max_bytes - self.bytes) * count // rows_left
                texts, taken = sample(self.desk.read(self.docs, part, ("text",)).column("text"), share)
                self.documents += len(texts)
                self.bytes += taken
                yield texts
            rows_left -= count


def sample(text: pa.ChunkedArray, max_bytes: int) -> tuple[list[str], int]:
    """Texts from all over the column, up to `max_bytes` of UTF-8, the last one cut; and their bytes."""
    sizes = pc.fill_null(pc.binary_length(text), 0).to_numpy().astype(np.int64)
    order = np.argsort(np.arange(len(sizes), dtype=np.uint64) * GOLDEN, kind="stable")
    order = order[sizes[order] > 0]
    filled = np.cumsum(sizes[order])
    whole = int(np.searchsorted(filled, max_bytes, side="right"))
    texts = text.take(pa.array(order[: whole + 1])).to_pylist()
    taken = int(filled[whole - 1]) if whole else 0
    if len(texts) > whole:
        last = texts.pop().encode()[: max_bytes - taken].decode(errors="ignore")
        texts += [last] if last else []
        taken += len(last.encode())
    return texts, taken
