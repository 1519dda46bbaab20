"""`njit` as this package uses it: without the interpreter's lock, and compiled once for all copies of the package.

numba keeps compiled code by the place of its source and the time it was written. A submitted job is another copy on
every node, each of which would compile for a minute. Here it is kept by the name of the module, in the folder that
`hare_ray.compiled` names by the state of the sources: equal sources, wherever they lie, are compiled once per machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import UserProvidedCacheLocator

from hare_ray.compiled import PREFIX

njit = partial(numba.njit, cache=True, nogil=True)

NUMBAS_OWN = "UserProvidedCacheLocator,InTreeCacheLocator,UserWideCacheLocator,IPythonCacheLocator,ZipCacheLocator"
"""For everybody else's functions, in the order that numba asks them."""

_settings: Any = numba.config


class BySource(UserProvidedCacheLocator):
    """Says to numba where compiled code of this package lies."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        """Name a folder by the module."""
        super().__init__(py_func, py_file)
        self._cache_path = str(Path(_settings.CACHE_DIR, py_func.__module__))

    def get_source_stamp(self) -> tuple[float, int]:
        """Of no file: the folder's name says the state of all sources."""
        return 0.0, 0

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Any:
        """None for functions of others, or where the user named a folder."""
        if Path(_settings.CACHE_DIR).name.startswith(PREFIX) and py_func.__module__.startswith("hare_ray."):
            return super().from_function(py_func, py_file)
        return None


if not _settings.CACHE_LOCATOR_CLASSES:
    _settings.CACHE_LOCATOR_CLASSES = f"{__name__}.{BySource.__name__},{NUMBAS_OWN}"
