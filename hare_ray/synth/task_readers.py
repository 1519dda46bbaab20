"""What reads an item of each task out of the JSON object that an LLM wrote: its slots, or a Refusal with the reason.

Reasons and what they mean: `hare_ray.synth.task_answers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hare_ray.synth import task_checks as why
from hare_ray.synth import task_forms as forms
from hare_ray.synth.task_checks import Asked, Refusal
from hare_ray.synth.task_forms import BLANK, LETTERS, Slots, clean
from hare_ray.synth.task_grounding import Source, plain
from hare_ray.synth.task_schemas import INFERENCE_LABELS, YES_NO_LABELS

SENTENCES = range(3, 7)
"""To put in order: two are a coin toss, and of many more several orders make sense."""

KEYWORDS = range(3, 9)

LABELS: dict[str, tuple[str, str]] = {
    "true": ("True", "Yes, it does."),
    "false": ("False", "No, it is false."),
    "unknown": ("Unknown", "The text does not say."),
}
"""What a label reads as, alone and as an answer to "Does it follow?"."""

_GAP = re.compile(r"_{2,}")
_LETTERED = re.compile(r"\s*\(?([A-Da-d])[.):]\s*(.*\S)?\s*", re.DOTALL)
_BARE_LETTER = re.compile(r"\s*(?:option\s+)?\(?([A-Da-d])[.)]?\s*", re.IGNORECASE)
_OF_OTHERS = re.compile(
    r"(?:all|none|both|any|each|neither|either) "
    r"(?:of (?:the (?:above|others?|options|answers)|these|them)|(?:are|is) (?:right|true)|[a-d] (?:and|or|nor))"
    r"|(?:all|none|both|neither)\Z"
)


def _string(found: dict[str, Any], key: str) -> str:
    return _bare(found.get(key), key)


def _bare(value: object, key: str) -> str:
    """A string or number as text of valid characters; refuses what is neither, or blank."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Refusal(why.MISSING_KEY, f"{key} is {type(value).__name__}")
    text = clean(str(value))
    if not text:
        raise Refusal(why.MISSING_KEY, key)
    return text


def _strings(found: dict[str, Any], key: str) -> list[str]:
    values = found.get(key)
    values = list(values.values()) if isinstance(values, dict) else values
    if not isinstance(values, list):
        raise Refusal(why.MISSING_KEY, f"{key} is {type(values).__name__}")
    return [_bare(value, key) for value in values]


def _different(texts: list[str]) -> bool:
    return len(set(map(plain, texts))) == len(texts)


def _question(found: dict[str, Any], asked: Asked) -> Slots:
    question, answer = _string(found, "question"), _string(found, "answer")
    asked.known(question)
    asked.grounded(answer)
    return {"question": question, "answer": answer}


def _choice(found: dict[str, Any], asked: Asked) -> Slots:
    question, options, answer = _string(found, "question"), _strings(found, "options"), _string(found, "answer")
    options = _unlettered(options)
    if len(options) != len(LETTERS) or not _different(options):
        raise Refusal(why.WRONG_OPTIONS, f"{len(options)} options, {len(set(map(plain, options)))} different")
    right = options[_place(answer, options)]
    _one_right(options)
    asked.known(question)
    asked.grounded(right)
    others = [option for option in options if option != right]
    return {"question": question, **forms.choice_slots(right, others, asked.seed, asked.key)}


def _one_right(options: list[str]) -> None:
    """Refuse options of which one is in the other, or says something of the others: more than one may be right."""
    spoken = [f" {plain(option)} " for option in options]
    for place, option in enumerate(spoken):
        if _OF_OTHERS.match(option.strip()) or any(option in other for other in spoken[:place] + spoken[place + 1 :]):
            raise Refusal(why.AMBIGUOUS_OPTIONS, options[place][:80])


def _unlettered(options: list[str]) -> list[str]:
    """Options without the letters in front, where all have theirs in order."""
    found = [_LETTERED.fullmatch(option) for option in options]
    if [match[1].upper() if match and match[2] else None for match in found] != list(LETTERS):
        return options
    return [match[2] for match in found if match]


def _place(answer: str, options: list[str]) -> int:
    """Number of the option that an answer names."""
    spoken = list(map(plain, options))
    if plain(answer) in spoken:
        return spoken.index(plain(answer))
    letter = _BARE_LETTER.fullmatch(answer)
    if letter:
        return LETTERS.index(letter[1].upper())
    both = _LETTERED.fullmatch(answer)
    if both and both[2] and plain(both[2]) == spoken[LETTERS.index(both[1].upper())]:
        return LETTERS.index(both[1].upper())
    raise Refusal(why.ANSWER_NOT_IN_OPTIONS, answer[:80])


def _cloze(found: dict[str, Any], asked: Asked) -> Slots:
    sentence, answer = _string(found, "sentence"), _string(found, "answer")
    gaps = _GAP.findall(sentence)
    if len(gaps) != 1 or _GAP.search(answer):
        raise Refusal(why.BLANK_MISSING, f"{len(gaps)} blanks")
    complete = sentence.replace(gaps[0], answer)
    asked.grounded(complete)
    asked.grounded(answer)
    return {"sentence": sentence.replace(gaps[0], BLANK), "answer": answer, "complete": complete}


def _summary(found: dict[str, Any], asked: Asked) -> Slots:
    summary = _string(found, "summary")
    asked.grounded(summary)
    if len(summary) >= len(asked.seed_text):
        raise Refusal(why.NOT_SHORTER, f"{len(summary)} of {len(asked.seed_text)} characters")
    asked.own_words(summary)
    return {"summary": summary}


def _inference(found: dict[str, Any], asked: Asked) -> Slots:
    label, statement = _label(found, "label", INFERENCE_LABELS), _string(found, "statement")
    asked.own_words(statement)
    if label == "true":
        asked.known(statement)
    alone, verdict = LABELS[label]
    return {"statement": statement, "label": alone, "verdict": verdict}


def _label(found: dict[str, Any], key: str, labels: tuple[str, ...]) -> str:
    label = found[key]
    label = str(label).lower() if isinstance(label, bool) else _string(found, key).lower().rstrip(".")
    if label not in labels:
        raise Refusal(why.ANSWER_NOT_IN_OPTIONS, label[:80])
    return label


def _paraphrase(found: dict[str, Any], asked: Asked) -> Slots:
    sentence, paraphrase = _string(found, "sentence"), _string(found, "paraphrase")
    if not _different([sentence, paraphrase]):
        raise Refusal(why.COPIED, "all of it")
    asked.grounded(sentence)
    asked.own_words(paraphrase, Source(sentence))
    return {"sentence": sentence, "paraphrase": paraphrase}


def _title(found: dict[str, Any], asked: Asked) -> Slots:
    title = _string(found, "title")
    asked.known(title)
    if not asked.source.share(title):
        raise Refusal(why.NOT_GROUNDED, "none of its words is in the seed")
    return {"title": title}


def _ordering(found: dict[str, Any], asked: Asked) -> Slots:
    sentences = _strings(found, "sentences")
    if len(sentences) not in SENTENCES or not _different(sentences):
        raise Refusal(why.WRONG_SENTENCES, f"{len(sentences)} sentences, {len(set(map(plain, sentences)))} different")
    for sentence in sentences:
        asked.grounded(sentence)
    return forms.order_slots(sentences, asked.seed, asked.key)


def _yes_no(found: dict[str, Any], asked: Asked) -> Slots:
    question, evidence = _string(found, "question"), _string(found, "evidence")
    answer = _label(found, "answer", (*YES_NO_LABELS, "true", "false"))
    asked.grounded(evidence)
    verdict = "Yes" if answer in ("yes", "true") else "No"
    if verdict == "Yes":
        asked.known(question)
    return {"question": question, "evidence": evidence, "verdict": verdict}


def _keywords(found: dict[str, Any], asked: Asked) -> Slots:
    keywords = _strings(found, "keywords")
    if len(keywords) not in KEYWORDS or not _different(keywords):
        raise Refusal(why.WRONG_KEYWORDS, f"{len(keywords)} keywords, {len(set(map(plain, keywords)))} different")
    for keyword in keywords:
        if asked.source.share(keyword) < 1:
            raise Refusal(why.NOT_GROUNDED, f"not in the seed: {keyword}"[:200])
        asked.known(keyword)
    return {"keywords": ", ".join(keywords)}


def _correction(found: dict[str, Any], asked: Asked) -> Slots:
    wrong, right = _string(found, "wrong"), _string(found, "right")
    asked.grounded(right)
    if not _different([wrong, right]) or asked.source.holds(wrong):
        raise Refusal(why.COPIED, "the mistake is no mistake")
    if Source(right).share(wrong) < asked.min_grounded:
        raise Refusal(why.NOT_GROUNDED, "the mistake is another sentence")
    return {"wrong": wrong, "right": right}


READERS: dict[str, Callable[[dict[str, Any], Asked], Slots]] = {
    forms.QUESTION_ANSWERING: _question,
    forms.MULTIPLE_CHOICE: _choice,
    forms.CLOZE: _cloze,
    forms.SUMMARISATION: _summary,
    forms.INFERENCE: _inference,
    forms.PARAPHRASE: _paraphrase,
    forms.TITLE: _title,
    forms.ORDERING: _ordering,
    forms.YES_NO: _yes_no,
    forms.KEYWORDS: _keywords,
    forms.CORRECTION: _correction,
}
"""Tasks an LLM can be asked for, and what reads an item of each."""
