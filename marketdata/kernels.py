"""Compile the hot loops ahead: ``python -m marketdata.kernels ingest.kernel ...`` warms the cache.

A kernel is a function that numba compiles for one signature. Compiling takes seconds, loading what
was compiled before milliseconds, so ``make setup`` and the image compile when they install.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

import structlog

# Read when numba is imported. A user's own choice stands.
os.environ.setdefault(
    "NUMBA_CACHE_LOCATOR_CLASSES",
    "UserProvidedCacheLocator,marketdata.kernels.BesideTheSource,UserWideCacheLocator",
)

from numba import njit
from numba.core import event
from numba.core.caching import InTreeCacheLocator

log = structlog.get_logger()

F = TypeVar("F", bound=Callable[..., Any])

# Kernels inline them, so a change of one makes what was compiled stale.
_INLINED = (Path(__file__).with_name("words.py"),)


class BesideTheSource(InTreeCacheLocator):
    """Keep compiled code in the ``__pycache__`` of its module, which may be read-only.

    numba's own locator passes a directory by that it cannot write to, as if it could not read what
    was compiled into an image.
    """

    def get_source_stamp(self) -> bytes:
        """Name the source by its content, with what it inlines from other files."""
        sources = (Path(self._py_file), *_INLINED)
        return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).digest()

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> BesideTheSource | None:
        """Return the locator of ``function``, or None where nothing can be kept or found."""
        locator = cls(function, file)
        name = f"{Path(file).stem}.{function.__qualname__}-*.nbi"
        if any(Path(locator.get_cache_path()).glob(name)):
            return locator
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator


class Kernels:
    """The kernels of the modules imported so far, each with its signature."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Any, str]] = []

    def add(self, signature: str) -> Callable[[F], F]:
        """Make a kernel of a function; before it is called, :meth:`load` must be.

        Args:
            signature: the types of what it takes, and nothing else will do, as numba writes them.
        """

        def decorate(function: F) -> F:
            dispatcher = njit(nogil=True, cache=True)(function)
            self._waiting.append((dispatcher, signature))
            return cast(F, dispatcher)

        return decorate

    def load(self) -> None:
        """Make every kernel ready; say so if that means to compile."""
        for dispatcher, signature in self._waiting:
            began = time.perf_counter()
            name = f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__qualname__}"
            with event.install_listener("numba:compile", _Announce(name)):
                try:
                    dispatcher.compile(signature)
                except OSError as exc:
                    # Compiled it is; only the next start will have to do it again.
                    log.warning("compiled code cannot be kept", kernel=name, error=str(exc))
            dispatcher.disable_compile()
            if dispatcher.stats.cache_misses:
                seconds = time.perf_counter() - began
                log.info("compiled", kernel=name, seconds=round(seconds, 1))
        self._waiting.clear()


class _Announce(event.Listener):
    # Fires only when nothing fitting is in the cache.
    def __init__(self, name: str) -> None:
        self._name: str | None = name

    def on_start(self, event: object) -> None:
        if self._name is not None:
            log.warning(
                "compiling, which takes seconds; python -m marketdata.kernels does it ahead",
                kernel=self._name,
            )
        # What it calls is compiled within.
        self._name = None

    def on_end(self, event: object) -> None:
        pass


KERNELS = Kernels()


def main(modules: list[str]) -> None:
    """Compile the kernels of ``modules`` if they are not in the cache."""
    for module in modules:
        import_module(module)
    # Not this module's: run as a program, it is there a second time.
    from marketdata.kernels import KERNELS  # noqa: PLC0415, PLW0621

    KERNELS.load()


if __name__ == "__main__":
    main(sys.argv[1:])
