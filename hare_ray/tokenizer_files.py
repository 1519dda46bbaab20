"""What the files of a tokenizer say of it, without the library that runs it: its ids and its special tokens.

    tokenizer.json            model.vocab: {token: id} (BPE, WordPiece, WordLevel) or [[token, score], ...] (Unigram);
                              added_tokens: [{content, id, special}]
    tokenizer_config.json     bos_token, eos_token, pad_token: a string, {"content": string} or null;
                              added_tokens_decoder: {id: {content}}
    special_tokens_map.json   the same, in older folders; may be missing, as the one before may

The configuration comes first, as in transformers where it lists the added tokens. What neither file speaks of goes by
its usual names, if there are such tokens: <s>, </s> (or GPT-2's <|endoftext|>), <pad>. What the first file that speaks
of it calls null there is not: Qwen's have no token that begins a text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOKENIZER, CONFIG, SPECIAL = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
NAMES = (TOKENIZER, CONFIG, SPECIAL)

USUAL = {"bos_token": ("<s>",), "eos_token": ("</s>", "<|endoftext|>"), "pad_token": ("<pad>",)}
"""What begins, ends and fills a text where no file says."""

LOADS = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
"""A configuration that has others take tokenizer.json as it is."""

Contents = Mapping[str, bytes]
"""Contents of those of NAMES that there are."""


def in_folder(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {name: (folder / name).read_bytes() for name in NAMES if (folder / name).exists()}


def ids(files: Contents) -> dict[str, int]:
    """Every token and its id."""
    if TOKENIZER not in files:
        raise ValueError(
            f"given a tokenizer without {TOKENIZER}, expected one; GivenTokenizer makes it of a SentencePiece .model"
        )
    told = json.loads(files[TOKENIZER])
    vocabulary = told["model"]["vocab"]
    if isinstance(vocabulary, list):
        vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
    return {**vocabulary, **{token["content"]: token["id"] for token in told.get("added_tokens", ())}}


def specials(files: Contents) -> dict[str, str | None]:
    """`bos_token`, `eos_token` and `pad_token`; None where there is none."""
    known = ids(files)
    return {name: special(files, name, known) for name in USUAL}


def special(files: Contents, name: str, known: Mapping[str, int]) -> str | None:
    """The token that the files give for a name."""
    told = [json.loads(files[file]) for file in (CONFIG, SPECIAL) if file in files]
    given = [content(one[name]) for one in told if name in one]
    if not given:
        return next((token for token in USUAL[name] if token in known), None)
    token = given[0]
    if token is not None and token not in known:
        raise ValueError(f"given {token!r} as {name}, which {TOKENIZER} does not know; expected a token of it")
    return token


def named_beside(files: Contents) -> set[int]:
    """Ids of the tokens that the files name beside the vocabulary: as pad_token, cls_token or such, or as added."""
    known = ids(files)
    config, others = (json.loads(files.get(file, b"{}")) for file in (CONFIG, SPECIAL))
    decoder = config.get("added_tokens_decoder", {})
    told = [content(value) for name, value in (*config.items(), *others.items()) if name.endswith("_token")]
    told += [*specials(files).values(), *map(content, decoder.values())]
    # `add_bos_token` ends as they do, and is no token.
    by_name = {known[token] for token in told if isinstance(token, str) and token in known}
    return by_name | {int(number) for number in decoder}.intersection(known.values())


def content(token: Any) -> str | None:
    """Of a special token in any of its forms."""
    return token["content"] if isinstance(token, dict) else token


def check_ids(files: Contents, vocabulary: int) -> None:
    """Refuse a tokenizer with ids that a model of so many embeddings does not have."""
    largest = max(ids(files).values())
    if largest >= vocabulary:
        raise ValueError(
            f"the tokenizer gives ids up to {largest}, the model has {vocabulary} embeddings; expected vocabulary="
            f"{largest + 1} or more in its shape, or a smaller tokenizer"
        )


def settled(told: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json with what its last user set taken back: cutting, filling, and joins left out at random.

    transformers takes back the first two before it encodes, but not the dropout; other readers take back nothing.
    """
    model = told["model"]
    set_ = {name: None for name in ("truncation", "padding") if told.get(name)}
    return {**told, **set_, "model": {**model, "dropout": None} if model.get("dropout") else model}


def completed(files: Contents) -> dict[str, bytes]:
    """All of NAMES: what is missing tells the special tokens, as tokenizer.json alone does not; that one `settled`."""
    named = {name: token for name, token in specials(files).items() if token is not None}
    made = {CONFIG: {**LOADS, **named}, SPECIAL: named}
    found = {name: files[name] if name in files else as_json(made[name]) for name in NAMES}
    told = json.loads(files[TOKENIZER])
    if settled(told) != told:
        found[TOKENIZER] = as_tokenizer(settled(told))
    return found


def as_tokenizer(told: Mapping[str, Any]) -> bytes:
    """The file of a tokenizer.json, which is long, and whose order others keep."""
    return json.dumps(told, ensure_ascii=False, indent=1).encode()


def as_json(value: Mapping[str, Any]) -> bytes:
    """A file in stable form."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
