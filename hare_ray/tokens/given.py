"""A tokenizer from elsewhere, in the files that everything here reads.

    a folder with tokenizer.json, or with a SentencePiece .model
    ->    tokenizer.json, tokenizer_config.json, special_tokens_map.json

Files that are there are kept as they are, but for what a tokenizer.json tells of its last use (`settled`); a .model
becomes the tokenizer.json that makes the same tokens (`hare_ray.tokens.sentence_piece_json`). The other files beside a
.model say what its special tokens are, before the model does. Whatever else lies there, as the weights of a model, is
left. What no training could use, or no export, is refused here, before a text is encoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hare_ray import tokenizer_files
from hare_ray.stage import Make, Stage
from hare_ray.tokenizer_files import content
from hare_ray.tokens import sentence_pieces
from hare_ray.tokens.sentence_piece_json import converted

if TYPE_CHECKING:
    from hare_ray.gather import Desk


class GivenTokenizer(Make):
    """The files of a tokenizer, complete and checked."""

    given: Stage
    """A Source of the folder."""
    vocabulary: int
    """Embeddings of the model: all ids are below."""

    imports: ClassVar[tuple[str, ...]] = ("tokenizers",)
    code: ClassVar[int] = 2

    def make(self, desk: Desk) -> dict[str, int]:
        """Read, check, complete, write; returns the number of tokens."""
        files = files_of(desk.files(self.given))
        tokenizer_files.check_ids(files, self.vocabulary)
        ending(files)
        for name, data in tokenizer_files.completed(files).items():
            (desk.folder / name).write_bytes(data)
        return {"tokens": len(tokenizer_files.ids(files))}


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, or those that stand for its .model."""
    files = tokenizer_files.in_folder(folder)
    if tokenizer_files.TOKENIZER in files:
        return files
    model = sentence_pieces.read(folder)
    config, special = beside(model, files)
    files |= {
        tokenizer_files.TOKENIZER: tokenizer_files.as_tokenizer(converted(model, beginning(config))),
        tokenizer_files.CONFIG: tokenizer_files.as_json(config),
        tokenizer_files.SPECIAL: tokenizer_files.as_json(special),
    }
    check_added(folder, tokenizer_files.ids(files), config)
    return files


def beside(model: Any, files: tokenizer_files.Contents) -> tuple[dict[str, Any], dict[str, Any]]:
    """What tokenizer_config.json and special_tokens_map.json say for a .model: those of its folder, then the model."""
    named = sentence_pieces.specials(model)
    theirs, mapped = (json.loads(files.get(name, b"{}")) for name in (tokenizer_files.CONFIG, tokenizer_files.SPECIAL))
    special = {**dict.fromkeys(tokenizer_files.USUAL), **named, **mapped}
    # The two files write a token with its settings in two ways, so what goes from one to the other is its text.
    config = {**tokenizer_files.LOADS, **{name: content(token) for name, token in special.items()}, **theirs}
    # A class of their own would read the .model; here it would make another tokenizer of the tokenizer.json.
    config["tokenizer_class"] = tokenizer_files.LOADS["tokenizer_class"]
    config.pop("auto_map", None)
    return config, {name: content(config[name]) for name in special if config[name] is not None}


def beginning(config: Mapping[str, Any]) -> str | None:
    """What a configuration puts in front of a text."""
    return content(config["bos_token"]) if config.get("add_bos_token", True) else None


def check_added(folder: Path, known: Mapping[str, int], config: Mapping[str, Any]) -> None:
    """Refuse tokens beside a .model that it does not have."""
    path = folder / "added_tokens.json"
    added: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    listed = config.get("added_tokens_decoder", {})
    added |= {str(content(token)): int(number) for number, token in listed.items()}
    for token, number in added.items():
        if known.get(token) != number:
            raise ValueError(
                f"given {folder} with a .model and beside it an added token {token!r} of id {number}, which is not its "
                f"id in the model ({known.get(token)}), expected pieces of the model alone; give a folder with the "
                "tokenizer.json that transformers writes of it (save_pretrained)"
            )


def ending(files: tokenizer_files.Contents) -> str:
    """The token that ends a document; ValueError where there is none."""
    token = tokenizer_files.specials(files)["eos_token"]
    if token is None:
        raise ValueError(
            f"given a tokenizer without a token that ends a text, expected one; name it as eos_token in "
            f"{tokenizer_files.CONFIG}"
        )
    return token
