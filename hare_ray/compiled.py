"""Where numba keeps what it compiled of this package: a folder per state of the sources.

numba takes compiled code for fresh while the file of its function is as it was, but inside are also the functions
that were inlined and the tables that were frozen, of other modules. Here the folder is named by a digest of all
sources that compiled code can hold: the modules with kernels, those that import them, and all that either
import of the package. Other sources take no part, so that an edit of a command does not cost a minute of compiling.

The folder lies in the user's cache folder, where all copies of the package find it (`hare_ray.kernel`), or beside the
package's bytecode where that cannot be written; where neither can, numba's own choice stays. A NUMBA_CACHE_DIR of the
user's goes before all of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
PREFIX = "hare_ray-numba-"
"""Of the folder's name; a process that starts another one hands the variable on, which then is not the user's."""
KEPT = 3
"""Folders of former states that stay, for a branch or copy one goes back to; a full one has about 80 MB."""
UNUSED_SECONDS = 7 * 24 * 3600
"""What a process named in this time stays too: it may still be compiling into it."""

_NUMBA = re.compile(rb"\n(?:from|import) (?:numba|hare_ray\.kernel)\b")
_IMPORTED = re.compile(rb"\n(?:from|import) (hare_ray[\w.]*)(?: import (\([^)]*\)|[^\n]*))?")
"""At the top of a module: what a function imports, compiled code cannot hold."""
_NAME = re.compile(rb"\w+")


def digest(package: Path) -> str:
    """Hex sha256, shortened, of the names and bytes of all sources that compiled code can hold."""
    sources = _sources(package)
    uses = {name: _imported(source) & sources.keys() for name, source in sources.items()}
    numba = {name for name, source in sources.items() if _NUMBA.search(source)}
    # A module can also have its decorator from one of these.
    todo = [name for name in sources if name in numba or uses[name] & numba]
    reached = set(todo)
    while todo:
        found = uses[todo.pop()] - reached
        reached |= found
        todo += found
    whole = hashlib.sha256()
    for name in sorted(reached):
        whole.update(f"{name}\0{len(sources[name])}\0".encode() + sources[name])
    return whole.hexdigest()[:16]


def _sources(package: Path) -> dict[str, bytes]:
    """Bytes by name; each begins with a line end, so that every line has one before it."""
    found = {}
    for folder, _, names in os.walk(package):
        room = package.name + folder.removeprefix(str(package)).replace(os.sep, "/")
        for name in names:
            if name.endswith(".py"):
                found[f"{room}/{name}"] = b"\n" + Path(folder, name).read_bytes()
    return found


def _imported(source: bytes) -> set[str]:
    """Names of the sources that one imports, and of some that are not there: a name may be no module."""
    found = set()
    for module, names in _IMPORTED.findall(source):
        place = module.decode().replace(".", "/")
        found |= {f"{place}.py", *(f"{place}/{name.decode()}.py" for name in _NAME.findall(names))}
    return found


def settle(package: Path) -> None:
    """Name the folder to numba, whether it is imported already or not."""
    given = os.environ.get(VARIABLE)
    if given and not Path(given).name.startswith(PREFIX):
        return
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    name = PREFIX + digest(package)
    for parent in (Path(caches, "hare_ray"), package / "__pycache__"):
        if _made(parent / name):
            os.environ[VARIABLE] = str(parent / name)
            if "numba" in sys.modules:
                sys.modules["numba"].config.CACHE_DIR = str(parent / name)
            return
    os.environ.pop(VARIABLE, None)


def _made(folder: Path) -> bool:
    """Whether `folder` is there and can be written; a new one takes the place of the longest unused."""
    try:
        if folder.is_dir():
            os.utime(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _forget(folder)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _forget(newest: Path) -> None:
    import shutil

    former = [path for path in newest.parent.glob(f"{PREFIX}*") if path != newest]
    used = sorted((path.stat().st_mtime, path) for path in former)
    for last, path in used[:-KEPT]:
        if last < time.time() - UNUSED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
