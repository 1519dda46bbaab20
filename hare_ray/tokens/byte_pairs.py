"""A tokenizer.json of byte-pair encoding (BPE), cut to fewer entries.

Two kinds are alike here. Byte-level (GPT-2, GPT-NeoX, ours): a character of an entry stands for a byte. Byte fallback
(Llama-2): entries are characters, and what has none is spelt by 256 entries <0x00> to <0xFF>. What stays whatever it
counts is enough to spell any text: added and special tokens, and the bytes; where neither stands for bytes, or not all
256 are there, every single character. The sign for a space stays too: the decoder turns it back into a space before it
puts bytes together, so bytes cannot stand for it.

Why every kept entry can still be made: encoding joins the pair of the lowest rank, again and again. Take the text of
one entry alone. If all that is joined on the way to it is kept, then at each step the pair that was the lowest of all
is still there and still the lowest. So the joins are the same, and the entry comes out. Which pair is joined last is
found by encoding the entry's own text (`halves`); merges alone do not tell, as Llama's list has several for an entry.

A text is then encoded in other entries, and decoded to the same text, because entries are joined and never changed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hare_ray.tokenizer_files import settled
from hare_ray.tokens.vocabulary import Entries

SPACE = "\u2581"
"""Stands for a space where a character of an entry is a character of the text."""

BYTE_ENTRIES = frozenset(f"<0x{byte:02X}>" for byte in range(256))

Rank = Callable[[str, str], float | None]
"""The order in which pairs are joined, lowest first; None: never."""


def halves(symbols: list[str], rank: Rank) -> tuple[str, str] | None:
    """The pair that is joined last on the way to one entry; None where encoding does not get there."""
    while len(symbols) > 2:
        ranks = [rank(left, right) for left, right in pairwise(symbols)]
        found = [(value, at) for at, value in enumerate(ranks) if value is not None]
        if not found:
            return None
        at = min(found)[1]
        symbols = [*symbols[:at], symbols[at] + symbols[at + 1], *symbols[at + 2 :]]
    return (symbols[0], symbols[1]) if len(symbols) == 2 and rank(*symbols) is not None else None


def all_halves(ids: dict[str, int], rank: Rank) -> NDArray[np.int64]:
    """[N, 2] as in `Entries`, for entries whose smallest symbols are characters."""
    found = np.full((1 + max(ids.values()), 2), -1, np.int64)
    for text, entry in ids.items():
        pair = halves(list(text), rank)
        if pair:
            # A character may lack an entry of its own.
            found[entry] = [ids.get(half, -1) for half in pair]
    return found


def entries(tokenizer: dict[str, Any]) -> Entries:
    """What a tokenizer.json says of its entries."""
    model = tokenizer["model"]
    affixes = {name: model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix")}
    # GPT-2's first files tell no type.
    type_ = model.get("type", "BPE" if "merges" in model else None)
    if type_ != "BPE" or any(affixes.values()):
        raise ValueError(
            f"given a tokenizer.json with a model of type {type_!r} and {affixes}, expected 'BPE' without "
            "these; of a SentencePiece tokenizer give a folder with its .model alone"
        )
    ids: dict[str, int] = model["vocab"]
    count = numbered(tokenizer)
    order = {pair: at for at, pair in enumerate(pairs(model["merges"]))}
    found = np.full((count, 2), -1, np.int64)
    own = all_halves(ids, lambda left, right: order.get((left, right)))
    found[: len(own)] = own
    fixed = np.zeros(count, bool)
    fixed[[place[key] for place, key in named_ids(tokenizer)]] = True
    always = {SPACE, model.get("unk_token"), *(BYTE_ENTRIES if model.get("byte_fallback") else ())}
    # One byte that is not there, and a character that was dropped would be unknown.
    spelt = model.get("byte_fallback") and ids.keys() >= BYTE_ENTRIES
    fixed[[ids[text] for text in ids if text in always or (len(text) == 1 and not spelt)]] = True
    return Entries(fixed, found)


def numbered(tokenizer: dict[str, Any]) -> int:
    """The number of ids; ValueError where they have gaps, or the library gives an added token another one."""
    from tokenizers import Tokenizer

    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    known = {*tokenizer["model"]["vocab"].values(), *added.values()}
    missing = next((number for number in range(max(known)) if number not in known), None)
    if missing is not None:
        raise ValueError(
            f"given a tokenizer.json with {len(known)} ids up to {max(known)} and without {missing}, expected no gaps; "
            f'give every number in between a name in its model.vocab, as "<unused {missing}>": {missing}'
        )
    library: Any = Tokenizer.from_str(json.dumps(tokenizer))
    for token, number in added.items():
        if library.token_to_id(token) != number:
            raise ValueError(
                f"given a tokenizer.json that numbers the added token {token!r} {number}, expected "
                f"{library.token_to_id(token)}, as all who load it number it; to keep the number, write "
                f"{json.dumps(token)}: {number} into its model.vocab too"
            )
    return len(known)


def pairs(merges: list[Any]) -> Iterator[tuple[str, str]]:
    """The merges of either form: "a b", or ["a", "b"]."""
    for merge in merges:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield left, right


def pruned(tokenizer: dict[str, Any], remap: NDArray[np.int32]) -> dict[str, Any]:
    """The tokenizer.json, settled, with the entries that `remap` keeps, under their new ids wherever one is named."""
    found = copy.deepcopy(settled(tokenizer))
    model, new = found["model"], remap.tolist()
    vocabulary = {text: new[old] for text, old in model["vocab"].items() if new[old] >= 0}
    model["vocab"] = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    model["merges"] = [
        merge
        for merge, (left, right) in zip(model["merges"], pairs(model["merges"]), strict=True)
        if left in vocabulary and right in vocabulary and left + right in vocabulary
    ]
    for place, key in named_ids(found):
        place[key] = new[place[key]]
    return found


def named_ids(tokenizer: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Where a tokenizer.json names an id outside its model: the object or list, and the key or position in it."""
    for token in tokenizer["added_tokens"]:
        yield token, "id"
    yield from processor_ids(tokenizer.get("post_processor"))


def processor_ids(processor: dict[str, Any] | None) -> Iterator[tuple[list[Any], int]]:
    """The same of a post-processor, and of those it is made of."""
    if processor is None:
        return
    for part in processor.get("processors", ()):
        yield from processor_ids(part)
    if processor["type"] == "TemplateProcessing":
        for special in processor["special_tokens"].values():
            yield from ((special["ids"], at) for at in range(len(special["ids"])))
    for name in ("sep", "cls"):
        if name in processor:
            yield processor[name], 1


def config(settings: dict[str, Any], remap: NDArray[np.int32]) -> dict[str, Any]:
    """tokenizer_config.json under the new ids."""
    named = settings.get("added_tokens_decoder", {})
    new = {str(int(remap[int(old)])): token for old, token in named.items() if 0 <= int(old) < len(remap)}
    assert "-1" not in new
    return {**settings, **({"added_tokens_decoder": new} if named else {})}
