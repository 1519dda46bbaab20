"""Read a prior: a commented YAML file becomes frozen dataclasses, or one sentence says what to mend and where.

    read("sources", Sources)             -> the document of hare_ray/priors/sources.yaml as a `Sources`
    parse(text, Sources, "mine.yaml")    -> the same of any text

The annotations of the dataclass are the whole schema: str, int, float, bool, Literal of texts, tuple[X, ...],
dict[str, X], X | None and dataclasses of these. A field with a default may be left out. Whatever else a value must
fulfil is checked by the dataclass's `__post_init__`, whose ValueError is told with file and the line of what it names:

    sources.yaml, line 12: weight_percent: given eleven, expected a number such as 1.0

YAML's nodes are read before YAML makes values of them, since its habits are not those of the person who edits: `no`
is a text where a text belongs only with quotes around it, `1e-4` is a number where a number belongs, a key that
stands twice is an error and does not hide the first, and a text is not cut off at a `#`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable
from importlib.resources import files
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

T = TypeVar("T")

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same nodes from C, about ten times as fast, where PyYAML was built with it."""

SHOWN = 40
"""Characters of a wrong value that a message repeats."""

_YAML = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")  # no octal 010, no minutes 1:30
_COLUMN = "entries of one level begin in the same column, each key is followed by a colon and a space"
_CURES = {
    "end of stream": "close the quote that is opened here",
    "mapping values are not allowed": f"put a text that holds a colon and a space in quotes; {_COLUMN}",
    "tab": "indent with spaces, never tabs",
    "'\\t'": "indent with spaces, never tabs",
    "cannot start any token": "put a text that begins with a sign such as @ in quotes; indent with spaces, never tabs",
    "']'": "close the bracket, and put texts with signs in it in quotes",
    "'}'": "close the bracket, and put texts with signs in it in quotes",
    "alias": "put a text that begins with * in quotes",
    "anchor": "put a text that begins with & in quotes",
    "expected": _COLUMN,
}
"""What YAML says of a broken file -> what a person does about it; the first that fits."""


def read(name: str, kind: type[T]) -> T:
    """The prior called `name`, as a `kind`; ValueError with file, line and cure."""
    return parse((files("hare_ray.priors") / f"{name}.yaml").read_bytes(), kind, f"{name}.yaml")


def parse(document: str | bytes, kind: type[T], file: str) -> T:
    """A YAML document as a `kind`; `file` is what messages call it."""
    try:
        text = document if isinstance(document, str) else document.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{file}, line {line}: given bytes that are not UTF-8; save the file as UTF-8") from error
    try:
        node = yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise ValueError(_broken(error, text, file, _names(kind))) from error
    return _Reader(file, re.split("\r\n|[\n\r\x85\u2028\u2029]", text)).value(node, kind, "")


def check_different(names: Iterable[str], what: str) -> None:
    """Refuse names or texts that stand more than once."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        shown = [name if len(name) <= SHOWN else f"{name[:SHOWN]}..." for name in twice]
        raise ValueError(f"{what}: given {shown} more than once; each must differ from the others, so keep one of each")


def _broken(error: yaml.YAMLError, text: str, file: str, names: set[str]) -> str:
    """One line for a file that is not YAML; `names` are the keys that there are."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text[: error.position].count("\n") + 1 if isinstance(error.position, int) else 1
        return f"{file}, line {line}: given a character that no text holds ({error.reason}); remove it"
    problem = getattr(error, "problem", None) or str(error)
    marks = [getattr(error, name, None) for name in ("problem_mark", "context_mark")]
    mark = next(filter(None, reversed(marks) if "end of stream" in problem else marks), None)
    if close := _without_space(text, mark.line if mark else 0, names):
        line, key = close
        return f"{file}, line {line}: {key}: not readable as YAML; put a space after the colon: '{key}: '"
    cure = next((cure for sign, cure in _CURES.items() if sign in problem), "compare it with the entries around it")
    told = problem.replace("\t", "\\t").replace("\n", " ")
    return f"{file}, line {mark.line + 1 if mark else 1}: not readable as YAML ({told}): {cure}"


def _without_space(text: str, last: int, names: set[str]) -> tuple[int, str] | None:
    """Line and name of the nearest key before line `last` (from 0) that its value follows without a space.

    YAML takes it for a text and stumbles over what comes after, often some lines below.
    """
    for at, line in reversed(list(enumerate(text.split("\n")[: last + 1], 1))):
        found = re.match(r"[ ]*(?:-[ ]+)*(\w+):(?=\S)", line)
        if found and found[1] in names:
            return at, found[1]
    return None


def _names(kind: Any) -> set[str]:
    """All keys that an annotation knows, at any depth."""
    if not dataclasses.is_dataclass(kind):
        return {name for one in get_args(kind) for name in _names(one)}
    hints = get_type_hints(kind)
    return {*hints, *(name for hint in hints.values() for name in _names(hint))}


def _meant(message: str, hints: dict[str, Any]) -> str | None:
    """The key of a record that a message is about: it begins with it, or names it or a key of its entries."""
    begin = message.partition(":")[0]
    if begin in hints:
        return begin
    within = {inner: name for name, hint in hints.items() for inner in sorted(_names(hint))}
    owner = {**within, **{name: name for name in hints}}
    words = re.findall(r"\w+", re.sub(r"'[^']*'|\"[^\"]*\"", "", message))  # what was given stands in quotes
    return next((owner[word] for word in words if word in owner), None)


class _Reader:
    """The values of one file."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self.file = file
        self.lines = lines

    def wrong(self, node: yaml.Node | None, key: str, what: str) -> ValueError:
        """The error for a place of the file."""
        line = node.start_mark.line + 1 if node is not None else 1
        return ValueError(f"{self.file}, line {line}: {f'{key}: ' if key else ''}{what}")

    def value(self, node: yaml.Node | None, kind: Any, key: str, other: str = "") -> Any:
        """The value of a node, as annotated; `other` says what else may stand there."""
        origin, inner = get_origin(kind), get_args(kind)
        if origin in (Union, UnionType):
            if _is_null(node):
                return None
            kind = next(one for one in inner if one is not NoneType)
            return self.value(node, kind, key, ", or null")
        if dataclasses.is_dataclass(kind):
            return self.record(node, kind, key)
        if origin is tuple:
            if not isinstance(node, yaml.SequenceNode):
                cure = "; write [] where there is none" if _is_null(node) else ""
                raise self.wrong(node, key, f"given {_given(node)}, expected a list: lines that begin with '- '{cure}")
            return tuple(self.value(item, inner[0], key) for item in node.value)
        if origin is dict:
            return {name: self.value(item, inner[1], name) for name, (_, item) in self.pairs(node, key).items()}
        return self.scalar(node, kind, key, other)

    def record(self, node: yaml.Node | None, kind: Any, key: str) -> Any:
        """A mapping as a dataclass: no key too many, none missing, all of the right kind."""
        pairs, fields = self.pairs(node, key), {field.name: field for field in dataclasses.fields(kind) if field.init}
        for name, (where, _) in pairs.items():
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                cure = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(fields)}"
                raise self.wrong(where, name, f"there is no such key here; {cure}")
        before: yaml.Node | None = node
        for name, field in fields.items():
            if name in pairs:
                before = pairs[name][0]
            elif field.default is field.default_factory is dataclasses.MISSING:  # told where it would belong
                raise self.wrong(before, name, f"is missing in this entry; expected the keys {', '.join(fields)}")
        hints = get_type_hints(kind)
        values = {name: self.value(item, hints[name], name) for name, (_, item) in pairs.items()}
        try:
            return kind(**values)
        except ValueError as error:
            meant = _meant(str(error), {name: hints[name] for name in fields})
            raise self.wrong(pairs[meant][0] if meant in pairs else node, key, str(error)) from error

    def pairs(self, node: yaml.Node | None, key: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> nodes of key and value; a key that stands twice is refused."""
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, key, f"given {_given(node)}, expected entries such as 'name: value'")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for name, item in node.value:
            text = self.scalar(name, str, key)
            if text in found:
                first = found[text][0].start_mark.line + 1
                raise self.wrong(name, text, f"stands here for the second time, after line {first}; keep one")
            found[text] = name, item
        return found

    def scalar(self, node: yaml.Node | None, kind: Any, key: str, other: str = "") -> Any:
        """A text, a number, or true or false."""
        expected = f"{_expected(kind)}{other}"
        if not isinstance(node, yaml.ScalarNode):
            cure = "; a text that holds a colon and a space, or begins with [ or {, needs quotes" if kind is str else ""
            raise self.wrong(node, key, f"given {_given(node)}, expected {expected}{cure}")
        if kind is str or get_origin(kind) is Literal:
            return self.text(node, kind, key)
        text = node.value.replace("_", "") if re.fullmatch(r"[-+0-9._eE]+", node.value) else node.value
        if not node.style and node.tag.removeprefix(_YAML) in ("str", "int", "float", "bool"):
            if kind is bool and text in ("true", "false"):
                return text == "true"
            if kind is int and _WHOLE.fullmatch(node.value):
                return int(text)
            if kind is float and (number := _number(text)) is not None:
                return number
        raise self.wrong(node, key, f"given {_given(node)}, expected {expected}{_cure(node, kind, key)}")

    def text(self, node: yaml.ScalarNode, kind: Any, key: str) -> str:
        """A text that says what the person wrote: not empty, no value of YAML's own, not cut off by a comment."""
        text = node.value
        if node.tag != f"{_YAML}str" and text:
            cure = f'YAML takes it for something else; put it in quotes: "{text}"'
            raise self.wrong(node, key, f"given {_given(node)}, expected {_expected(kind)}; {cure}")
        if not text.strip():
            raise self.wrong(node, key, f"given nothing, expected {_expected(kind)}")
        if not node.style and self.lines[node.end_mark.line][node.end_mark.column :].lstrip().startswith("#"):
            cure = "put the text in quotes, or the comment on a line of its own"
            raise self.wrong(node, key, f"given {_given(node)} and a # after it, where YAML ends the text; {cure}")
        if kind is not str and text not in get_args(kind):
            near = difflib.get_close_matches(text, get_args(kind), 1)
            cure = f"; did you mean {near[0]}?" if near else ""
            raise self.wrong(node, key, f"given {_given(node)}, expected {_expected(kind)}{cure}")
        return text


def _number(text: str) -> float | None:
    """A finite number, also where YAML sees a text, as in 1e-4."""
    if text[-1:].isdigit() and re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", text) and text.count(".") <= 1:
        number = float(text)
        return number if math.isfinite(number) else None
    return None


def _cure(node: yaml.ScalarNode, kind: Any, key: str) -> str:
    """What to do about a value that is no number, nor true or false."""
    bare = node.value.strip()
    if kind is float and bare.endswith("%") and (percent := _number(bare[:-1].strip())) is not None:
        return f"; write {percent if 'percent' in key else percent / 100:g}, without the sign"
    return "; without quotes" if node.style else ""


def _is_null(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_YAML}null"


def _given(node: yaml.Node | None) -> str:
    """What stands there, for a message."""
    if isinstance(node, yaml.MappingNode):
        return "entries with a colon"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if not isinstance(node, yaml.ScalarNode) or (not node.style and not node.value):
        return "nothing"
    text = node.value if len(node.value) <= SHOWN else f"{node.value[:SHOWN]}..."
    return repr(text) if node.style or "\n" in text else text


def _expected(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    words = {str: "a text", int: "a whole number such as 3", float: "a number such as 1.0", bool: "true or false"}
    return words[kind]
