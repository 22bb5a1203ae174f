"""Hot loops that are compiled, each for one signature.

``python -m marketdata.warm`` compiles them ahead into a library, see
:mod:`marketdata.kernels.library`. Processes load the library and not numba, which would take 60 MB
and 0.3 s of each. Without a library, numba compiles them, see :mod:`marketdata.kernels.jit`.


Modules with kernels import what they need of numba from here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from marketdata.kernels.library import load_library

F = TypeVar("F", bound=Callable[..., Any])

#: The compiled kernels by name; None: numba compiles them.
LIBRARY: Mapping[str, Callable[..., Any]] | None = load_library()


class _Unused:
    """Stands for numba where kernels are compiled already: whatever is asked of it is itself."""

    def __getattr__(self, _name: str) -> Any:
        return self

    def __call__(self, *_arguments: object, **_named: object) -> Any:
        return self

    def __getitem__(self, _key: object) -> Any:
        return self


class _Compiled:
    """The kernels of the library, in the place of :class:`marketdata.kernels.jit.Kernels`."""

    def __init__(self, library: Mapping[str, Callable[..., Any]]) -> None:
        self._library = library

    def add(self, _signature: Any) -> Callable[[F], F]:
        def decorate(function: F) -> F:
            name = f"{function.__module__}.{function.__qualname__}"
            if name not in self._library:
                raise ImportError(f"{name} is not in the compiled library: run make setup")
            return cast(F, self._library[name])

        return decorate


def _same(function: F) -> F:
    return function


if TYPE_CHECKING or LIBRARY is None:
    # Code that was compiled on one machine must run on another one: an image, or a cache of
    # packages. It is as fast as code for the processor at hand alone. numba reads it only once.
    os.environ.setdefault("NUMBA_CPU_NAME", "generic")
    os.environ.setdefault("NUMBA_CPU_FEATURES", "")

    from llvmlite import ir
    from numba import from_dtype, types
    from numba.core import cgutils
    from numba.extending import intrinsic, overload

    from marketdata.kernels.jit import KERNELS, fused_part, inlined, inlined_part, kernel_part
else:
    KERNELS = _Compiled(LIBRARY)
    kernel_part = inlined_part = fused_part = inlined = _same
    cgutils = from_dtype = intrinsic = ir = overload = types = _Unused()

__all__ = [
    "KERNELS",
    "LIBRARY",
    "cgutils",
    "from_dtype",
    "fused_part",
    "inlined",
    "inlined_part",
    "intrinsic",
    "ir",
    "kernel_part",
    "overload",
    "types",
]
