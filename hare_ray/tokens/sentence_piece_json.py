"""A SentencePiece .model as a tokenizer.json that makes the same tokens.

    text -> normalizer -> cut at user-defined pieces -> space in front -> BPE or Unigram -> ids

The space that SentencePiece puts in front of a text is put by `Metaspace`, because a normalizer would put one behind
every user-defined piece too. It puts none before a text that starts with one already. Where runs of spaces become one
that is right; otherwise the spaces of the text are turned to their sign first, so that none is seen.

SentencePiece turns spaces to their sign before it looks for user-defined pieces, so one that is written with a space is
never found. It keeps its id and is no added token: `tokenizers` would turn the spaces of that to signs, and find it.

A Unigram model of `tokenizers` looks for control and byte pieces in the text as for any other, so a page that spells
out "</s>" would end. Such texts are cut behind the first character.

What differs from SentencePiece: a user-defined piece at the very start of a text gets no space in front; a Unigram text
that spells out a control piece is cut as said; an unknown piece is decoded to nothing and not to two question marks.
None of them changes the text that comes back. Two may, where SentencePiece removes extra spaces: a text that spells out
its sign for a space (U+2581), and extra spaces that are a user-defined piece, which it keeps.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from hare_ray.tokens.byte_pairs import SPACE
from hare_ray.tokens.sentence_pieces import BPE, CONTROL, NORMAL, UNIGRAM, UNKNOWN, USER_DEFINED, normal


def converted(model: Any, begin: str | None) -> dict[str, Any]:
    """The tokenizer.json; `begin` is put in front of a text, as in Llama's files."""
    from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors

    tokenizer: Any = Tokenizer(model_of(model))
    tokenizer.normalizer = normalizers.Sequence(list(normalizer_steps(model.normalizer_spec)))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(cutting_steps(model)))
    tokenizer.decoder = decoder_of(model)
    for piece in model.pieces:
        if piece.type in (UNKNOWN, CONTROL):
            tokenizer.add_special_tokens([AddedToken(piece.piece, special=True, normalized=False)])
        elif piece.type == USER_DEFINED and " " not in piece.piece:
            tokenizer.add_tokens([AddedToken(piece.piece, special=False, normalized=True)])
    if begin is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A",
            pair=f"{begin} $A {begin} $B",
            special_tokens=[(begin, tokenizer.token_to_id(begin))],
        )
    return json.loads(tokenizer.to_str())


def model_of(model: Any) -> Any:
    """The part that makes tokens."""
    from tokenizers import models

    fallback = model.trainer_spec.byte_fallback
    unknown = next(n for n, piece in enumerate(model.pieces) if piece.type == UNKNOWN)
    if model.trainer_spec.model_type == UNIGRAM:
        scores = [(piece.piece, piece.score) for piece in model.pieces]
        return models.Unigram(scores, unk_id=unknown, byte_fallback=fallback)
    ids = {piece.piece: n for n, piece in enumerate(model.pieces)}
    name = model.pieces[unknown].piece
    return models.BPE(vocab=ids, merges=merges(model), unk_token=name, fuse_unk=True, byte_fallback=fallback)


def merges(model: Any) -> list[tuple[str, str]]:
    """All pairs of pieces that join to a piece, in the order in which that happens."""
    scores = normal(model)
    found = [
        (-score, n, at, (piece[:at], piece[at:]))
        for n, (piece, score) in enumerate(scores.items())
        for at in range(1, len(piece))
        if piece[:at] in scores and piece[at:] in scores
    ]
    return [pair for *_, pair in sorted(found)]


def normalizer_steps(settings: Any) -> Iterator[Any]:
    """What is done to a text first."""
    from tokenizers import Regex, normalizers

    if settings.precompiled_charsmap:
        yield normalizers.Precompiled(settings.precompiled_charsmap)
    if settings.remove_extra_whitespaces:
        yield normalizers.Replace(Regex(r" +\z"), "")
        yield normalizers.Replace(Regex(" {2,}"), " ")
        if not settings.add_dummy_prefix:
            yield normalizers.Replace(Regex(r"\A "), "")
    else:
        yield normalizers.Replace(" ", SPACE)


def cutting_steps(model: Any) -> Iterator[Any]:
    """The space in front, signs for spaces, and the cuts that keep a Unigram from control pieces."""
    from tokenizers import Regex, pre_tokenizers

    settings = model.normalizer_spec
    first = "first" if settings.add_dummy_prefix else "never"
    if settings.remove_extra_whitespaces:
        yield pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=first, split=False)
    else:
        yield pre_tokenizers.Metaspace(replacement=" ", prepend_scheme=first, split=False)
        yield pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=False)
    if model.trainer_spec.model_type != BPE:
        yield pre_tokenizers.Split(Regex(spelt_out(model)), "isolated")


def spelt_out(model: Any) -> str:
    """A regular expression for the first character of whatever spells out a piece that no text is cut into."""
    rests = defaultdict(list)
    for piece in model.pieces:
        if piece.type not in (NORMAL, USER_DEFINED):
            rests[piece.piece[0]].append(re.escape(piece.piece[1:]))
    return "|".join(f"{re.escape(first)}(?={'|'.join(others)})" for first, others in rests.items())


def decoder_of(model: Any) -> Any:
    """From pieces to text: signs to spaces, byte pieces to characters, the space in front away."""
    from tokenizers import decoders

    fallback = [decoders.ByteFallback()] if model.trainer_spec.byte_fallback else []
    prefix = [decoders.Strip(" ", 1, 0)] if model.normalizer_spec.add_dummy_prefix else []
    return decoders.Sequence([decoders.Replace(SPACE, " "), *fallback, decoders.Fuse(), *prefix])
