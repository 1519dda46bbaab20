"""Read a prior: a commented YAML file becomes frozen dataclasses, or one sentence says what to mend and where.

    read("sources", Sources)             -> the document of hare_ray/priors/sources.yaml as a `Sources`
    parse(text, Sources, "mine.yaml")    -> the same of any text

The annotations of the dataclass are the whole schema: str, int, float, bool, Literal of texts, tuple[X, ...],
dict[str, X], X | None and dataclasses of these. A field with a default may be left out. Whatever else a value must
fulfil is checked by the dataclass's `__post_init__`, whose ValueError is told with file and line:

    sources.yaml, line 12: weight_percent: given eleven, expected a number such as 11.0

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
        raise ValueError(_broken(error, text, file)) from error
    return _Reader(file, re.split("\r\n|[\n\r\x85\u2028\u2029]", text)).value(node, kind, "")


def check_different(names: Iterable[str], what: str) -> None:
    """Refuse names or texts that stand more than once."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        shown = [name if len(name) <= SHOWN else f"{name[:SHOWN]}..." for name in twice]
        raise ValueError(f"{what}: given {shown} more than once; each must differ from the others, so keep one of each")


def _broken(error: yaml.YAMLError, text: str, file: str) -> str:
    """One line for a file that is not YAML."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text[: error.position].count("\n") + 1 if isinstance(error.position, int) else 1
        return f"{file}, line {line}: given a character that no text holds ({error.reason}); remove it"
    problem = getattr(error, "problem", None) or str(error)
    marks = [getattr(error, name, None) for name in ("problem_mark", "context_mark")]
    mark = next(filter(None, reversed(marks) if "end of stream" in problem else marks), None)
    cure = next((cure for sign, cure in _CURES.items() if sign in problem), "compare it with the entries around it")
    told = problem.replace("\t", "\\t").replace("\n", " ")
    return f"{file}, line {mark.line + 1 if mark else 1}: not readable as YAML ({told}): {cure}"


class _Reader:
    """The values of one file."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self.file = file
        self.lines = lines

    def wrong(self, node: yaml.Node | None, key: str, what: str) -> ValueError:
        """The error for a place of the file."""
        line = node.start_mark.line + 1 if node is not None else 1
        return ValueError(f"{self.file}, line {line}: {f'{key}: ' if key else ''}{what}")

    def value(self, node: yaml.Node | None, kind: Any, key: str) -> Any:
        """The value of a node, as annotated."""
        origin, inner = get_origin(kind), get_args(kind)
        if origin in (Union, UnionType):
            if _is_null(node):
                return None
            return self.value(node, next(one for one in inner if one is not NoneType), key)
        if dataclasses.is_dataclass(kind):
            return self.record(node, kind, key)
        if origin is tuple:
            if not isinstance(node, yaml.SequenceNode):
                raise self.wrong(node, key, f"given {_given(node)}, expected a list: lines that begin with '- '")
            return tuple(self.value(item, inner[0], key) for item in node.value)
        if origin is dict:
            return {name: self.value(item, inner[1], name) for name, (_, item) in self.pairs(node, key).items()}
        return self.scalar(node, kind, key)

    def record(self, node: yaml.Node | None, kind: Any, key: str) -> Any:
        """A mapping as a dataclass: no key too many, none missing, all of the right kind."""
        pairs, fields = self.pairs(node, key), {field.name: field for field in dataclasses.fields(kind) if field.init}
        for name, (where, _) in pairs.items():
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                cure = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(fields)}"
                raise self.wrong(where, name, f"there is no such key here; {cure}")
        for name, field in fields.items():
            if name not in pairs and field.default is field.default_factory is dataclasses.MISSING:
                raise self.wrong(node, name, f"is missing in this entry; expected the keys {', '.join(fields)}")
        hints = get_type_hints(kind)
        values = {name: self.value(item, hints[name], name) for name, (_, item) in pairs.items()}
        try:
            return kind(**values)
        except ValueError as error:
            raise self.wrong(node, key, str(error)) from error

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

    def scalar(self, node: yaml.Node | None, kind: Any, key: str) -> Any:
        """A text, a number, or true or false."""
        if not isinstance(node, yaml.ScalarNode):
            cure = "; a text that holds a colon and a space, or begins with [ or {, needs quotes" if kind is str else ""
            raise self.wrong(node, key, f"given {_given(node)}, expected {_expected(kind)}{cure}")
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
        cure = "; without quotes" if node.style else ""
        raise self.wrong(node, key, f"given {_given(node)}, expected {_expected(kind)}{cure}")

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
    words = {str: "a text", int: "a whole number such as 3", float: "a number such as 11.0", bool: "true or false"}
    return words[kind]
