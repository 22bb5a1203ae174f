"""Compile the hot loops ahead: ``python -m marketdata.warm ingest aggregator gateway``.

Compiling takes seconds, loading the library milliseconds, so ``make setup`` and the image compile
when they install.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

if __name__ == "__main__":
    # Whatever library there is.
    os.environ["MARKETDATA_KERNELS"] = "numba"

from marketdata import kernels
from marketdata.kernels import KERNELS
from marketdata.kernels.library import folders

if TYPE_CHECKING or kernels.LIBRARY is None:
    from marketdata.kernels.build import CannotLink, build_library
    from marketdata.kernels.jit import watch_compiling

log = structlog.get_logger()

# All packages with kernels.
PACKAGES = ("ingest", "aggregator", "gateway")
# The first line of a kernel.
_REGISTERED = re.compile(r"^@KERNELS\.add\(", re.MULTILINE)


def load_kernels() -> None:
    """Make the kernels of all imported modules ready; warn of each that must be compiled."""
    if kernels.LIBRARY is not None:
        return
    for dispatcher, signature in KERNELS.waiting:
        with watch_compiling(partial(_warn, _name_of(dispatcher))):
            _make_ready(dispatcher, signature)
        # Other types would be a mistake, and compiling for them would stop the service for seconds.
        dispatcher.disable_compile()
    KERNELS.waiting.clear()


def compile_ahead(modules: Iterable[str]) -> None:
    """Compile the kernels of ``modules`` that are not in numba's cache, side by side."""
    for module in modules:
        import_module(module)
    numbers = range(len(KERNELS.waiting))
    # Other systems than Linux do not let a process fork that has loaded LLVM.
    if (cores := len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1) > 1:
        # A fork has the modules that were imported.
        with ProcessPoolExecutor(cores, get_context("fork")) as pool:
            list(pool.map(_compile, numbers))
    else:
        for number in numbers:
            _compile(number)


def link_kernels(names: Sequence[str]) -> None:
    """Link the compiled kernels into the library.

    Without a C compiler there is none, and services start with numba and its cache. Neither is
    there one of some packages alone: services of the others could not start.

    Args:
        names: the packages whose kernels were compiled.
    """
    if missing := set(PACKAGES) - set(names):
        log.warning("library_not_built", reason=f"without {', '.join(sorted(missing))}")
        return
    try:
        library = build_library(KERNELS.waiting, folders())
    except CannotLink as exc:
        log.warning("library_not_built", reason=str(exc), consequence="services start with numba")
    else:
        log.info("library_built", path=str(library))


def find_kernels(names: Sequence[str]) -> Iterator[str]:
    """Return the modules with kernels among ``names`` and in the packages of these names."""
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise SystemExit(f"there is no module {name}")
        source = Path(spec.origin)
        if spec.submodule_search_locations is None:
            yield name
            continue
        for path in sorted(source.parent.rglob("*.py")):
            if _REGISTERED.search(path.read_text()):
                yield ".".join((name, *path.relative_to(source.parent).with_suffix("").parts))


def _compile(number: int) -> None:
    _make_ready(*KERNELS.waiting[number])


def _make_ready(dispatcher: Any, signature: Any) -> None:
    began = time.perf_counter()
    name = _name_of(dispatcher)
    problem = "no folder can be written" if dispatcher.stats.cache_path is None else ""
    try:
        dispatcher.compile(signature)
    except OSError as exc:
        problem = str(exc)
    if problem:
        # It works; only the next start has to compile it again.
        log.warning("compiled_code_not_kept", kernel=name, error=problem)
    if dispatcher.stats.cache_misses:
        log.info("kernel_compiled", kernel=name, seconds=round(time.perf_counter() - began, 1))


def _name_of(dispatcher: Any) -> str:
    return f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__qualname__}"


def _warn(kernel: str) -> None:
    log.warning(
        "compiling_kernel",
        kernel=kernel,
        reason="the cache has nothing for this processor and source",
        hint="python -m marketdata.warm ingest aggregator gateway compiles ahead",
    )


if __name__ == "__main__":
    # Ctrl-C ends all processes without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    compile_ahead(find_kernels(sys.argv[1:]))
    link_kernels(sys.argv[1:])
