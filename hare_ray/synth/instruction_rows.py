"""Rows of instruction data in their common shapes, as exchanges of a request and a response.

    keys                                                                        data of this shape
    prompt; response or completion                                              generic
    instruction, input or context (may be empty); output or response            Alpaca, Dolly
    question, input or context; answer, gold_ans or pred_ans                    question answering
    the same with a rationale                                                   Auto-CoT, chain of thought
    messages: [{role, content or text}]                                         chat, OpenAssistant
    conversations: [{from, value}]                                              ShareGPT, OpenHermes

A prompt inside Alpaca's frame (### Instruction: ... ### Input: ... ### Response:) is taken out of it: the frame is the
format of other models' fine-tuning, and as text it would teach its own words many thousand times. Some data sets have
put what is to be read below the request in one string; it stands apart again where that is plain: the first line asks,
or speaks of a text, and at least INPUT_WORDS words that end no question follow. A rationale comes before its answer,
which is added where the rationale does not end with it.

A last request without a response is left out; turns in any other order, or of tools, make a row of an unknown shape.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from hare_ray.synth import task_forms as forms
from hare_ray.synth.task_forms import Slots, clean

MALFORMED_JSON = "malformed_json"
UNKNOWN_SHAPE = "unknown_shape"
EMPTY = "empty"

SHAPES = (
    ("prompt", ("response", "completion")),
    ("instruction", ("output", "response")),
    ("question", ("answer", "response", "gold_ans", "pred_ans")),
)
"""Key of the request, and what may hold the response."""
RATIONALE = "rationale"
INPUTS = ("input", "context")
CHATS = (("messages", "role", "content"), ("conversations", "from", "value"))
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = {SYSTEM: SYSTEM, USER: USER, "human": USER, "prompter": USER, ASSISTANT: ASSISTANT, "gpt": ASSISTANT}
TEXT = "text"
"""What OpenAssistant calls the content of a turn."""

INPUT_WORDS = 20
"""Below the first line of a request, to be taken for a text that it speaks of."""
ANSWER_CHARS = 120
"""From the end of a rationale, in which its answer may stand."""

_FRAME = re.compile(
    r"###\s*Instruction:\s*(?P<request>.*?)(?:\s*###\s*Input:\s*(?P<input>.*?))?\s*###\s*Response:\s*\Z", re.DOTALL
)


_ABOUT = re.compile(r"(?:[?:]|\b(?:article|excerpt|paragraph|passage|text)s?\b.*)\Z", re.IGNORECASE)
_ASKS = re.compile(r"(?:who|whom|whose|what|when|where|why|which|how)\b[^\n]*\Z", re.IGNORECASE)


class UnusableError(ValueError):
    """A row that is no instruction."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Instruction:
    """A conversation, mostly of one exchange."""

    task: str
    exchanges: tuple[Slots, ...]
    system: str = ""
    """What the assistant was told before."""


def instruction_of(line: bytes) -> Instruction:
    """The instruction in a line of JSON; raises UnusableError."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as failed:
        raise UnusableError(MALFORMED_JSON, str(failed)[:200]) from failed
    if not isinstance(row, dict):
        raise UnusableError(UNKNOWN_SHAPE, f"{type(row).__name__}, not an object")
    for key, role, content in CHATS:
        if isinstance(row.get(key), list):
            return _chat(row[key], role, content)
    for key, responses in SHAPES:
        found = next((name for name in responses if name in row), None)
        if key in row and found:
            given = next((row[name] for name in INPUTS if row.get(name)), "")
            response = _reasoned(_text(row.get(RATIONALE), RATIONALE), _text(row[found], found))
            return _single(_text(row[key], key), _text(given, "input"), response)
    raise UnusableError(UNKNOWN_SHAPE, f"keys {', '.join(sorted(row))}"[:200])


def _text(value: object, key: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UnusableError(UNKNOWN_SHAPE, f"{key} is {type(value).__name__}")
    return clean(str(value))


def _single(request: str, given: str, response: str) -> Instruction:
    """One exchange, out of its frame if it has one."""
    framed = _FRAME.search(request) if "### Response:" in request else None
    if framed:
        request, given = framed["request"], framed["input"] or given
    if not request or not response:
        raise UnusableError(EMPTY, "request" if response else "response")
    if not given:
        request, given = _apart(request)
    slots = {"request": request, "response": response}
    if given:
        return Instruction(forms.INSTRUCTION_INPUT, ({**slots, "input": given},))
    asks = request.endswith("?") or _ASKS.match(request)
    return Instruction(forms.QUESTION if asks else forms.INSTRUCTION, (slots,))


def _apart(request: str) -> tuple[str, str]:
    """A request and the text below it that it speaks of, '' where none does."""
    first, _, rest = request.partition("\n")
    first, rest = first.strip(), rest.strip()
    asks = _ABOUT.search(first) or _ASKS.match(first)
    if asks and len(rest.split()) >= INPUT_WORDS and not rest.endswith("?"):
        return first, rest
    return request, ""


def _reasoned(rationale: str, answer: str) -> str:
    """An answer after its rationale."""
    if not rationale or not answer:
        return answer
    if re.search(rf"(?<!\w){re.escape(answer.rstrip('.'))}(?!\w)", rationale[-ANSWER_CHARS:], re.IGNORECASE):
        return rationale
    return f"{rationale}\nThe answer is {answer.rstrip('.')}."


def _chat(turns: list[Any], role: str, content: str) -> Instruction:
    """Turns of a user and an assistant, one after the other."""
    said = [_turn(turn, role, content) for turn in turns]
    system = "\n".join(text for who, text in said if who == SYSTEM and text)
    said = [(who, text) for who, text in said if who != SYSTEM]
    said = said[:-1] if said and said[-1][0] == USER else said
    if [who for who, _ in said] != [USER, ASSISTANT] * (len(said) // 2):
        raise UnusableError(UNKNOWN_SHAPE, f"turns of {', '.join(who for who, _ in said)}"[:200])
    if not said or not all(text for _, text in said):
        raise UnusableError(EMPTY, "turn")
    if len(said) == len((USER, ASSISTANT)):
        only = _single(said[0][1], "", said[1][1])
        return Instruction(only.task, only.exchanges, system)
    pairs = zip(said[::2], said[1::2], strict=True)
    return Instruction(forms.DIALOGUE, tuple({"request": a[1], "response": b[1]} for a, b in pairs), system)


def _turn(turn: object, role: str, content: str) -> tuple[str, str]:
    who = ROLES.get(str(turn.get(role))) if isinstance(turn, dict) else None
    if not isinstance(turn, dict) or who is None:
        raise UnusableError(UNKNOWN_SHAPE, f"a turn of {turn.get(role) if isinstance(turn, dict) else turn!r}"[:200])
    return who, _text(turn.get(content, turn.get(TEXT)), content)
