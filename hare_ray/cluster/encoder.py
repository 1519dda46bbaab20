"""A sentence-transformers model as a function from texts to vectors: windows of tokens, in batches of equal length.

    encoder(folder, plan) -> texts -> float32[texts, dimensions], each of length 1

Long texts (chunk pooling): the tokenizer cuts a text into consecutive windows of `max_tokens` tokens, each with the
special tokens a text has, and the first `max_chunks` of them are read. The vector of the text is the mean of the
windows' vectors, each weighted with its tokens, brought to length 1. Cutting tokens, not characters, gives every
window but the last the length the model was made for, in any script.

Batches: the windows of all texts are sorted by length (equal ones in order) and go through the model `batch_rows` at a
time. Sorting saves the padding, on mixed texts half of all tokens. It depends on the texts alone, so equal lists of
texts give equal bytes: a vector differs in its last bits with the batch that it was computed in. Measured on one core
in bfloat16 (MiniLM, 256 tokens, a third of the texts short): 8 rows at a time are 15 % faster than 32, since their
activations stay in the cache; a budget of tokens in place of a number of rows gains nothing (4 x 256 and 8 x 256
tokens 71 and 69 documents a second, 8 rows 72; 32 x 256 tokens 56, 32 rows 61).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hare_ray.cluster.sample import normalised

DTYPES = ("bfloat16", "float16", "float32")

MODEL_FILES = ("modules.json", "config.json")
"""One of them is in every model folder: of sentence-transformers, or of transformers (then pooled by mean)."""

Encode = Callable[[list[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Plan:
    """How texts are read."""

    dimensions: int
    max_tokens: int
    """Of one window, its special tokens included."""
    max_chunks: int
    batch_rows: int
    """Windows of one forward pass."""
    dtype: str
    gpu: bool


def encoder(folder: Path, plan: Plan) -> Encode:
    """The model in `folder` as a function from a list of texts that are not empty to vectors of length 1."""
    model = _loaded(folder, plan)
    tokenizer: Any = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    tokenizer.no_padding()
    tokenizer.enable_truncation(plan.max_tokens)
    pad = model.tokenizer.pad_token_id or 0
    special = tokenizer.num_special_tokens_to_add(False)
    prompt = model.prompts.get(model.default_prompt_name or "", "")

    def encode(texts: list[str]) -> NDArray[np.float32]:
        windows, owner = [], []
        for text, encoding in enumerate(tokenizer.encode_batch([prompt + text for text in texts])):
            read = [encoding, *encoding.overflowing][: plan.max_chunks]
            windows += [window.ids for window in read]
            owner += [text] * len(read)
        lengths = np.asarray([len(ids) for ids in windows], np.int64)
        vectors = np.empty((len(windows), plan.dimensions), np.float32)
        for rows in batches(lengths, plan.batch_rows):
            vectors[rows] = _forward(model, [windows[row] for row in rows], pad)
        _check_finite(vectors, owner, folder, plan)
        if len(windows) == len(texts):
            return normalised(vectors)
        pooled = np.zeros((len(texts), plan.dimensions), np.float32)
        np.add.at(pooled, owner, vectors * np.maximum(lengths - special, 1)[:, None].astype(np.float32))
        return normalised(pooled)

    return encode


def batches(lengths: NDArray[np.int64], batch_rows: int) -> list[NDArray[np.int64]]:
    """Rows by ascending length, some at a time."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + batch_rows] for start in range(0, len(order), batch_rows)]


def _forward(model: Any, windows: list[list[int]], pad: int) -> NDArray[np.float32]:
    """One forward pass; windows come by ascending length."""
    import torch

    ids = np.full((len(windows), len(windows[-1])), pad, np.int64)
    mask = np.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = window
        mask[row, : len(window)] = 1
    given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    with torch.inference_mode():
        found = model({name: values.to(model.device) for name, values in given.items()})["sentence_embedding"]
        return found.float().cpu().numpy()


def _loaded(folder: Path, plan: Plan) -> Any:
    """The model, on its device, or a ValueError that says what does not fit."""
    if not any((folder / name).is_file() for name in MODEL_FILES):
        raise ValueError(
            f"given the model folder {str(folder)!r} without {' or '.join(MODEL_FILES)}; expected a model of "
            "sentence-transformers or transformers, as save_pretrained or a download of the hub leaves it"
        )
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", str(plan.gpu).lower())  # a GPU would wait for one thread
    import torch
    from sentence_transformers import SentenceTransformer

    if plan.gpu and not torch.cuda.is_available():
        raise ValueError("given gpus above 0, but no GPU is seen here; run where there is one, or set gpus=0")
    if not plan.gpu:
        torch.set_num_threads(1)  # the workers are the parallelism, and sums over threads are other sums
    try:
        model: Any = SentenceTransformer(str(folder), device="cuda" if plan.gpu else "cpu", local_files_only=True)
    except (OSError, KeyError, ValueError, ImportError, AttributeError, TypeError) as error:
        raise ValueError(
            f"the model folder {str(folder)!r} cannot be loaded by sentence-transformers: {error}; expected its "
            "weights, config and tokenizer, as save_pretrained or a download of the hub leaves them"
        ) from error
    _check(folder, model, plan)
    return model.to(getattr(torch, plan.dtype)).eval()


def _check_finite(vectors: NDArray[np.float32], owner: list[int], folder: Path, plan: Plan) -> None:
    """Refuse vectors that are no numbers, before lengths hide them."""
    bad = {owner[row] for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1))}
    if bad:
        raise ValueError(
            f"the model in {folder.name!r} gave NaN or infinite vectors for {len(bad)} of {len(set(owner))} texts; "
            f"expected finite ones; dtype={plan.dtype!r} may be too narrow for it (try 'float32'), or its weights are "
            "damaged"
        )


def _check(folder: Path, model: Any, plan: Plan) -> None:
    """Refuse a recipe that the model cannot follow."""
    found = model.get_embedding_dimension()
    if found != plan.dimensions:
        raise ValueError(
            f"the model in {folder.name!r} gives {found} dimensions, the recipe says dimensions={plan.dimensions}; "
            f"set dimensions={found}"
        )
    transformer = model.transformers_model
    if transformer is None:
        raise ValueError(
            f"the model in {folder.name!r} is no transformer; expected one, since others read no windows of tokens "
            "(StaticModel distils a fast model of word vectors)"
        )
    most = positions(transformer)
    if most is not None and plan.max_tokens > most:
        raise ValueError(
            f"given max_tokens={plan.max_tokens}, but the model in {folder.name!r} has {most} positions; expected at "
            f"most {most}; longer documents are read in several windows by max_chunks"
        )


def positions(transformer: Any) -> int | None:
    """Tokens that a model has positions for; None: positions are relative, any number."""
    most = getattr(transformer.config, "max_position_embeddings", None)
    embeddings = getattr(getattr(transformer, "embeddings", None), "position_embeddings", None)
    padding = getattr(embeddings, "padding_idx", None)  # RoBERTa and its kin count from behind it
    return most if most is None or padding is None else most - padding - 1
