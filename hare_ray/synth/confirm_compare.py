"""Whether the second answer about an item is the first.

    against(kind, expected, answer, min_f1) -> what speaks against the item; None: nothing

    task                 the answer comes back if
    question_answering   F1 of the two shares is at least `min_f1`, no number stands against another, and both or none
                         of the two say no
    multiple_choice      the letter is that of the same option
    cloze                the words are equal but for case, punctuation and an article in front
    inference, yes_no    the label is equal

F1 is the harmonic mean of the share of the first answer's different content words that the second has, and the other
way round: of SQuAD's measure, with sets and without words of grammar. Negations are such words, and turn an answer into
its opposite, so they are compared apart. Numbers stand against each other where each answer has one that the other has
not; "one" alone, which is seldom a number, counts where the two have no number in common. All of this is asked of the
texts in one spelling: three is 3, "C++" is c plus plus, a minus sign before a digit a word.
"""

from __future__ import annotations

import re

from hare_ray.synth import task_forms as forms
from hare_ray.synth.task_answers import first_object
from hare_ray.synth.task_checks import Refusal
from hare_ray.synth.task_grounding import IN_WORDS, numbers, plain, stems, words

NEGATIONS = frozenset(
    ["no", "not", "never", "none", "nor", "neither", "nobody", "nothing", "nowhere", "without", "cannot"]
)

_READ_OUT = (
    (re.compile(r"\w+n['\u2019]t\b", re.IGNORECASE), "not"),  # an auxiliary verb, which is grammar as well
    (re.compile(r"\bno\.(?=\s*\d)", re.IGNORECASE), "number"),
    (re.compile(r"(?<=\w)#"), " sharp "),
    (re.compile(r"(?<=[\w+])\+"), " plus "),
    (re.compile(r"(?<!\w)[-\u2212](?=\d)"), " minus "),
    (re.compile(r"\b(?:" + "|".join(IN_WORDS) + r")\b", re.IGNORECASE), lambda word: IN_WORDS[word[0].lower()]),
)
_BELOW_ZERO = re.compile(r"\bminus (\d+(?:[.,]\d+)*)")
_ARTICLE = re.compile(r"(?:an?|the) (?=\S)")
_LETTER = re.compile(r"\W*(?:option\s+)?([A-D])\b.*", re.IGNORECASE | re.DOTALL)


def against(kind: str, expected: str, answer: str, min_f1: float) -> str | None:
    """What speaks against an item whose answer is `expected` and was `answer` the second time; None: nothing."""
    try:
        value = first_object(answer, ("answer",)).get("answer")
    except Refusal:
        value = None
    if isinstance(value, bool):
        value = str(value).lower()
    second = str(value) if isinstance(value, (str, int, float)) else ""
    if not second.strip():
        return f"no second answer can be read: {answer!r:.80}"
    if kind == forms.QUESTION_ANSWERING:
        return _differ(_read_out(expected), _read_out(second), min_f1)
    if kind == forms.MULTIPLE_CHOICE:
        letter = _LETTER.fullmatch(second)
        same = (letter[1].lower() if letter else second) == expected.lower()
    elif kind == forms.CLOZE:
        one, other = (_ARTICLE.sub("", plain(_read_out(text)), count=1) for text in (expected, second))
        same = one == other
    else:
        same = plain(second) == plain(expected)
    return None if same else f"the second answer is {second!r:.80}, not {expected!r:.80}"


def _read_out(text: str) -> str:
    """A text with signs in words and small numbers in digits."""
    for pattern, instead in _READ_OUT:
        text = pattern.sub(instead, text)
    return text


def _signed(text: str) -> set[str]:
    below = {number.replace(",", "") for number in _BELOW_ZERO.findall(text)}
    return numbers(text) - below | {f"-{number}" for number in below}


def _differ(first: str, second: str, min_f1: float) -> str | None:
    if plain(first) == plain(second):
        return None
    one, other = _signed(first), _signed(second)
    mine, theirs = one - other, other - one
    if mine and theirs and (not one & other or (mine - {"1"} and theirs - {"1"})):
        return f"{max(theirs)} in the second answer, {max(mine)} in the first"
    denied = [not NEGATIONS.isdisjoint(words(text)) for text in (first, second)]
    if denied[0] != denied[1]:
        return f"the {'first' if denied[0] else 'second'} answer alone says no: {second!r:.80}"
    own, again = one | stems(first), other | stems(second)
    shares = [len(own & again) / max(len(some), 1) for some in (own, again)]
    f1 = 2 * shares[0] * shares[1] / sum(shares) if any(shares) else 0.0
    return None if f1 >= min_f1 else f"F1 of {f1:.2f} with the second answer {second!r:.80}"
