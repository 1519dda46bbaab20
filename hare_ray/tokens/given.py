"""A tokenizer from elsewhere, in the files that everything here reads.

    a folder with tokenizer.json, or with a SentencePiece .model
    ->    tokenizer.json, tokenizer_config.json, special_tokens_map.json

Files that are there are kept as they are; a .model becomes the tokenizer.json that makes the same tokens
(`hare_ray.tokens.sentence_piece_json`). Whatever else lies there, as the weights of a model, is left. What no training
could use, or no export, is refused here, before a text is encoded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hare_ray import tokenizer_files
from hare_ray.stage import Make, Stage
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
    named = sentence_pieces.specials(model)
    absent = dict.fromkeys(set(tokenizer_files.USUAL) - set(named))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **absent, **named}
    return {
        tokenizer_files.TOKENIZER: json.dumps(converted(model), ensure_ascii=False, indent=1).encode(),
        tokenizer_files.CONFIG: tokenizer_files.as_json(told),
        tokenizer_files.SPECIAL: tokenizer_files.as_json(named),
    }


def ending(files: tokenizer_files.Contents) -> str:
    """The token that ends a document; ValueError where there is none."""
    token = tokenizer_files.specials(files)["eos_token"]
    if token is None:
        raise ValueError(
            f"given a tokenizer without a token that ends a text, expected one; name it as eos_token in "
            f"{tokenizer_files.CONFIG}"
        )
    return token
