"""Text of token ids, by the bytes of the vocabulary: a table of bytes per token, and one gather over the ids.

Two families, told apart by the tokenizer's decoder:

    ByteLevel            every character of a token stands for a byte (GPT-2's table: bytes that print stand for
                         themselves, the others for the characters from U+0100 on)
    Replace, Metaspace   "\u2581" is a space, <0xHH> a byte; the space that begins a text is none of it (Llama)

Specials are no text, so what they enclose comes out as it went in. Bytes that are no UTF-8, as where a piece ends in
the middle of a character, become U+FFFD, as decoding does. The library decodes a few MB/s per core and gives Python
strings; this is a copy of bytes into an Arrow column.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hare_ray.kernel import njit

SPACE = "\u2581"
"""Stands for a space in vocabularies of the Llama family."""

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
BLANK = np.uint8(ord(" "))


@njit
def _copy(
    tokens: NDArray[Any],
    pieces: tuple[NDArray[np.int64], NDArray[np.int64]],
    vocabulary: tuple[NDArray[np.int64], NDArray[np.uint8]],
    strip: bool,
    offsets: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Fill `offsets`, and `out` where it has any room; pieces are first tokens and lengths."""
    firsts, lengths = pieces
    edges, data = vocabulary
    writes = len(out) > 0
    at = np.int64(0)
    for piece in range(len(firsts)):
        begins = strip
        for place in range(firsts[piece], firsts[piece] + lengths[piece]):
            first, stop = edges[tokens[place]], edges[tokens[place] + 1]
            if begins and first < stop:
                first += np.int64(data[first] == BLANK)
                begins = False
            if writes:
                for byte in range(first, stop):
                    out[at + byte - first] = data[byte]
            at += stop - first
        offsets[piece + 1] = at


@dataclass(frozen=True)
class TokenBytes:
    """Bytes of every token of a vocabulary, one after the other."""

    edges: NDArray[np.int64]
    data: NDArray[np.uint8]
    strip: bool
    """Whether a space at the beginning of a text is not part of it."""

    @classmethod
    def of(cls, folder: Path) -> TokenBytes:
        """The table of the tokenizer.json in a folder."""
        path = folder / "tokenizer.json"
        told = json.loads(path.read_text(encoding="utf-8"))
        kinds = set(_kinds(told.get("decoder")))
        vocabulary = told["model"]["vocab"]
        if isinstance(vocabulary, list):
            vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
        spaced = not kinds.isdisjoint({"Replace", "Metaspace"})
        if "ByteLevel" not in kinds and not spaced:
            raise ValueError(
                f"given {path} with a decoder of {sorted(kinds)}, expected ByteLevel, or one that replaces {SPACE!r}; "
                "take a tokenizer of the GPT-2 or Llama family, or train one"
            )
        table = dict.fromkeys(vocabulary.values(), b"")
        table.update({number: (_spaced if spaced else _levelled)(token) for token, number in vocabulary.items()})
        for added in told.get("added_tokens", ()):
            table[added["id"]] = b"" if added["special"] else added["content"].encode()
        entries = [table.get(number, b"") for number in range(max(table) + 1)]
        edges = np.cumsum([0, *map(len, entries)]).astype(np.int64)
        return cls(edges, np.frombuffer(b"".join(entries) or b"\0", np.uint8), spaced)

    def texts(self, tokens: NDArray[Any], firsts: NDArray[np.int64], lengths: NDArray[np.int64]) -> pa.Array:
        """The texts of stretches of `tokens`, as a large_string array."""
        if len(tokens) and int(tokens.max()) >= len(self.edges) - 1:
            raise ValueError(
                f"given the token {int(tokens.max())}, expected ids below {len(self.edges) - 1}, the size of the "
                "vocabulary; give the tokenizer that the sequences were packed with"
            )
        offsets = np.zeros(len(firsts) + 1, np.int64)
        told = (tokens, (firsts, lengths), (self.edges, self.data), self.strip, offsets)
        _copy(*told, np.empty(0, np.uint8))
        out = np.empty(int(offsets[-1]), np.uint8)
        if len(out):
            _copy(*told, out)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(out)]
        texts = pa.Array.from_buffers(pa.large_string(), len(firsts), buffers)
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            data = out.tobytes()
            spans = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
            return pa.array([data[first:stop].decode("utf-8", "replace") for first, stop in spans], pa.large_string())
        return texts


def _kinds(decoder: Any) -> list[str]:
    """Types of a decoder and of those in it."""
    if not isinstance(decoder, dict):
        return []
    return [decoder["type"], *(kind for inner in decoder.get("decoders", ()) for kind in _kinds(inner))]


def _levels() -> dict[str, int]:
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + place): byte for place, byte in enumerate(others)}


_LEVELS = _levels()


def _levelled(token: str) -> bytes:
    """A special in the vocabulary may hold other characters; what it stands for is decided later."""
    return bytes(_LEVELS[character] for character in token if character in _LEVELS)


def _spaced(token: str) -> bytes:
    byte = BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE, " ").encode()
