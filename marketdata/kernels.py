"""Hot loops that numba compiles, each for one signature, and where the compiled code is kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import config, njit
from numba.core.caching import InTreeCacheLocator

# numba has read the environment when it was imported, and reads it again when it changes. A user's
# own choice stands.
vars(config)["CACHE_LOCATOR_CLASSES"] = os.environ.setdefault(
    "NUMBA_CACHE_LOCATOR_CLASSES",
    "UserProvidedCacheLocator,marketdata.kernels.BesideTheSource,UserWideCacheLocator",
)

F = TypeVar("F", bound=Callable[..., Any])

# Kernels inline them, so a change of one makes what was compiled stale.
_INLINED = (Path(__file__).with_name("words.py"),)


class BesideTheSource(InTreeCacheLocator):
    """Keep compiled code in the ``__pycache__`` of its module, which may be read-only.

    numba's own locator passes a directory by that it cannot write to, as if it could not read what
    was compiled into an image.
    """

    # Numbers of other modules that are compiled in.
    _constants = b""

    def get_source_stamp(self) -> bytes:
        """Name the source by its content, with what it has of other files."""
        sources = (Path(self._py_file), *_INLINED)
        read = b"".join(path.read_bytes() for path in sources)
        return hashlib.sha256(read + self._constants).digest()

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> BesideTheSource | None:
        """Return the locator of ``function``, or None where nothing can be kept or found."""
        locator: Any = cls(function, file)
        numbers = [
            each for each in function.__globals__.items() if isinstance(each[1], int | float)
        ]
        locator._constants = repr(sorted(numbers)).encode()
        name = f"{Path(file).stem}.{function.__qualname__}-*.nbi"
        if any(Path(locator.get_cache_path()).glob(name)):
            return cast(BesideTheSource, locator)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return cast(BesideTheSource, locator)


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
                dispatcher = njit(nogil=True, cache=True)(function)
            except RuntimeError:
                # There is no place where it could be kept.
                dispatcher = njit(nogil=True)(function)
            self.waiting.append((dispatcher, signature))
            return cast(F, dispatcher)

        return decorate


KERNELS = Kernels()


def kernel_part(function: F) -> F:
    """Let kernels of the same module call a function; it is compiled with each of them."""
    return cast(F, njit(function))
