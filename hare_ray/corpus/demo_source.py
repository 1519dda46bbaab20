"""Documentation out of Python source that is installed anyway, without importing any of it.

    candidates   .py files of the packages without tests, ordered by a hash, packages taking turns
    articles     what would be one page each: a module, or a class or function with much to say

The installed version must be the one asked for: the text, and so every id, depends on it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

PYTHON = "python"
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "testing", "_vendor", "idlelib", "lib2to3", "site-packages", "__pycache__"}
)
MIN_FILE_BYTES, MAX_FILE_BYTES = 800, 400_000
"""Smaller files say nothing; larger ones are generated tables, and slow to parse."""
MIN_ARTICLE_CHARS = 500
MIN_OWN_PAGE_CHARS = 600
MIN_OWN_PAGES = 3
"""A module with this many long members gets a page for each, as documentation sites do."""
MAX_MEMBERS = 60


class Entry(NamedTuple):
    """A class or function with its documentation."""

    name: str
    kind: str
    signature: str
    doc: str
    members: tuple[Entry, ...] = ()

    def chars(self) -> int:
        """Characters of documentation."""
        return len(self.doc) + sum(member.chars() for member in self.members)


class Candidate(NamedTuple):
    """A source file that may become pages."""

    package: str
    version: str
    name: str
    path: Path


class Article(NamedTuple):
    """What one page says."""

    package: str
    version: str
    entry: Entry
    elsewhere: tuple[Entry, ...] = ()
    """Members that have pages of their own."""


def stable_hash(*parts: object) -> int:
    """64 bits that are the same in every process and on every machine."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _installed(name: str) -> importlib.metadata.Distribution | None:
    """The distribution called `name`, or else the one that installs the package `name`."""
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        owners = importlib.metadata.packages_distributions().get(name)
        return importlib.metadata.distribution(owners[0]) if owners else None


def _sources(package: str, version: str) -> Iterator[tuple[str, Path]]:
    """Relative name and place of all source files."""
    if package == PYTHON:
        _same_version(package, version, platform.python_version())
        yield from _below(Path(sysconfig.get_path("stdlib")), "")
        return
    found = _installed(package)
    if found is not None:
        _same_version(package, version, found.version)
    listed = [] if found is None else [file for file in found.files or [] if file.suffix == ".py"]
    if found is not None and package == found.name and listed:
        yield from ((str(file), Path(str(found.locate_file(file)))) for file in listed if ".." not in file.parts)
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ValueError(f"package {package!r} is not installed; install it, or leave it out of `packages`")
    for folder in spec.submodule_search_locations or []:
        yield from _below(Path(folder), f"{package}/")
    if spec.submodule_search_locations is None and spec.origin is not None:
        yield f"{package}.py", Path(spec.origin)


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*.py"):
        yield prefix + path.relative_to(folder).as_posix(), path


def _same_version(package: str, version: str, installed: str) -> None:
    if version != installed:
        raise ValueError(
            f"the recipe asks for {package} {version}, but {installed} is installed here; install that "
            "version, or write the installed one into the recipe (which makes another crawl)"
        )


def _wanted(relative: str) -> bool:
    parts = relative.split("/")
    stem = parts[-1].removesuffix(".py")
    return not (
        SKIPPED_FOLDERS.intersection(parts)
        or stem.startswith(("test_", "_sysconfigdata", "conftest", "setup"))
        or stem.endswith("_test")
        or not all(part.isidentifier() for part in (*parts[:-1], stem))
    )


def _candidates(package: str, version: str) -> list[Candidate]:
    found = {}
    for relative, path in _sources(package, version):
        if _wanted(relative):
            name = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            found[name] = Candidate(package, version, name, path)
    return sorted(found.values(), key=lambda c: (stable_hash(c.package, c.version, c.name), c.name))


def candidates(packages: tuple[tuple[str, str], ...]) -> list[Candidate]:
    """All source files, packages taking turns."""
    turns = zip_longest(*(_candidates(package, version) for package, version in packages))
    return [candidate for candidate in chain.from_iterable(turns) if candidate is not None]


def _doc(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    doc = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
    return doc.encode("utf-8", "replace").decode()


def _entries(body: list[ast.stmt], prefix: str) -> Iterator[Entry]:
    """Public classes and functions that are documented."""
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        name = f"{prefix}.{node.name}"
        if isinstance(node, ast.ClassDef):
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            members = tuple(_entries(node.body, name))[:MAX_MEMBERS]
            entry = Entry(name, "class", f"({bases})" if bases else "", _doc(node), members)
        else:
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            doc = _doc(node)
            entry = Entry(name, "function", f"({ast.unparse(node.args)}){returns}" if doc else "", doc)
        if entry.chars():
            yield entry


def articles(candidate: Candidate) -> list[Article]:
    """The pages of one source file; none where it says too little or is no Python of this version."""
    source = candidate.path.read_bytes()
    if not MIN_FILE_BYTES <= len(source) <= MAX_FILE_BYTES:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    members = tuple(_entries(tree.body, candidate.name))[:MAX_MEMBERS]
    apart = tuple(member for member in members if member.chars() >= MIN_OWN_PAGE_CHARS)
    if len(apart) < MIN_OWN_PAGES:
        apart = ()
    inline = tuple(member for member in members if member not in apart)
    module = Entry(candidate.name, "module", "", _doc(tree), inline)
    pages = [Article(*candidate[:2], module, apart)] if module.chars() >= MIN_ARTICLE_CHARS else []
    return [*pages, *(Article(*candidate[:2], member) for member in apart)]
