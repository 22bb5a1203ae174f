"""Let numba compile kernels, each for one signature, and say where the compiled code is kept.

Compiled code is kept in files that are named by the content of all source it was made of, so code
of another source is never loaded.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
from numba import config, njit
from numba.core import caching, event
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])

# Kernels make no arrays, and their callers own the arrays that they take. So numba need not count
# the references of every array with every call: that took most of the time of a late trade.
_NO_COUNTS: dict[str, Any] = {"_nrt": False}


def sources_of(module: str) -> dict[str, bytes]:
    """Return the source of ``module`` and of all that it imports from its package and this one.

    Whatever a kernel inlines, calls or takes a number from is in one of them.
    """
    packages = {module.partition(".")[0], "marketdata"}
    found: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and name not in found and name.partition(".")[0] in packages:
            found[name] = Path(file).read_bytes()
            waiting += _imports(found[name])
    return found


@cache
def _imports(source: bytes) -> tuple[str, ...]:
    # The names that may be modules; what is imported from one may be one itself.
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


class _ByContent:
    # Names files by what they were compiled from. numba itself adds its version and the processor,
    # but looks at the time of change of one file alone.
    _module = ""
    _stamp = ""

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> Any:
        """Return the locator of ``function``, or None where nothing can be kept or found."""
        if not Path(file).exists():
            return None
        locator: Any = cast(Any, cls)(function, file)
        locator._module = function.__module__
        kernel = f"{Path(file).stem}.{function.__qualname__}-"
        current = f"{kernel}{locator.get_disambiguator()}."
        folder = Path(locator.get_cache_path())
        if any(folder.glob(f"{current}*")):
            return locator
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        for kept in folder.glob(f"{kernel}*.py{sys.version_info[0]}{sys.version_info[1]}*.nb[ci]"):
            if not kept.name.startswith(current):
                kept.unlink(missing_ok=True)
        return locator

    def get_source_stamp(self) -> str:
        """Return the hash of all source."""
        if not self._stamp:
            digest = hashlib.sha256(llvmlite.__version__.encode())
            for name, source in sorted(sources_of(self._module).items()):
                digest.update(b"%s %d\n" % (name.encode(), len(source)))
                digest.update(source)
            self._stamp = digest.hexdigest()
        return self._stamp

    def get_disambiguator(self) -> str:
        """Return what stands in the names of the files."""
        return self.get_source_stamp()[:24]


class InTheGivenFolder(_ByContent, caching.UserProvidedCacheLocator):
    """Keep compiled code where NUMBA_CACHE_DIR says, if it does."""

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> Any:
        """Return the locator of ``function``, or None where nothing can be kept or found."""
        return super().from_function(function, file) if vars(config)["CACHE_DIR"] else None


class BesideTheSource(_ByContent, caching.InTreeCacheLocator):
    """Keep compiled code in the ``__pycache__`` of its module, which may be read-only.

    numba's own locator passes a directory by that it cannot write to, as if it could not read what
    was compiled into an image.
    """


class InTheUsersCache(_ByContent, caching.UserWideCacheLocator):
    """Keep compiled code in the user's cache folder."""


# numba has read the environment when it was imported, and reads it again when it changes. A user's
# own choice stands.
vars(config)["CACHE_LOCATOR_CLASSES"] = os.environ.setdefault(
    "NUMBA_CACHE_LOCATOR_CLASSES",
    ",".join(
        f"{__name__}.{each.__name__}"
        for each in (InTheGivenFolder, BesideTheSource, InTheUsersCache)
    ),
)


class Kernels:
    """The kernels of the modules imported so far."""

    def __init__(self) -> None:
        # Those that are not compiled yet: numba's dispatcher and the signature.
        self.waiting: list[tuple[Any, Any]] = []

    def add(self, signature: Any) -> Callable[[F], F]:
        """Make a kernel of a function; :func:`marketdata.warm.load_kernels` makes it ready.

        Args:
            signature: what it returns and takes, in types of numba; nothing else will do.
        """

        def decorate(function: F) -> F:
            try:
                dispatcher = njit(nogil=True, cache=True, **_NO_COUNTS)(function)
            except RuntimeError:
                # There is no place where it could be kept.
                dispatcher = njit(nogil=True, **_NO_COUNTS)(function)
            self.waiting.append((dispatcher, signature))
            return cast(F, dispatcher)

        return decorate


KERNELS = Kernels()


def kernel_part(function: F) -> F:
    """Let kernels call a function, of any module; it is compiled with each of them."""
    return cast(F, njit(**_NO_COUNTS)(function))


def inlined_part(function: F) -> F:
    """Make a :func:`kernel_part` that is inlined whatever its size.

    LLVM calls what is longer than a few lines; a call costs 2 to 5 ns, and what it returns goes
    through memory.
    """
    return cast(F, njit(inline="always", **_NO_COUNTS)(function))


def fused_part(function: F) -> F:
    """Make a :func:`kernel_part` that is compiled once and then fused into each of its callers.

    For a part that does less than it costs to pass its arguments.
    """
    return cast(F, njit(forceinline=True, **_NO_COUNTS)(function))


def inlined(function: F) -> F:
    """Let kernels call a function, of any module, that stays a plain function for Python."""
    return register_jitable(function)


class _Compiling(event.Listener):
    # numba starts the event only if the cache has nothing that fits.
    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        self._is_told = False

    def on_start(self, event: object) -> None:
        # The functions that a kernel calls are compiled within.
        if not self._is_told:
            self._is_told = True
            self._began()

    def on_end(self, event: object) -> None:
        pass


@contextmanager
def watch_compiling(began: Callable[[], None]) -> Iterator[None]:
    """Call ``began`` once if numba compiles within the context."""
    with event.install_listener("numba:compile", _Compiling(began)):
        yield
