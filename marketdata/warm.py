"""Compile the hot loops ahead: ``python -m marketdata.warm ingest aggregator gateway``.

Compiling takes seconds, loading what was compiled before a tenth of one, so ``make setup`` and the
image compile when they install.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import structlog
from numba.core import event

from marketdata.kernels import KERNELS

log = structlog.get_logger()

# The first line of a kernel.
_REGISTERED = re.compile(r"^@KERNELS\.add\(", re.MULTILINE)


def load_kernels() -> None:
    """Make the kernels of all imported modules ready; warn of each that must be compiled."""
    for dispatcher, signature in KERNELS.waiting:
        with event.install_listener("numba:compile", _Warn(_name_of(dispatcher))):
            _make_ready(dispatcher, signature)
        # Other types would be a mistake, and compiling for them would stop the service for seconds.
        dispatcher.disable_compile()
    KERNELS.waiting.clear()


def compile_ahead(modules: Iterable[str]) -> None:
    """Compile the kernels of ``modules`` that are not in the cache, side by side."""
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


class _Warn(event.Listener):
    # numba starts the event only if the cache has nothing that fits.
    def __init__(self, name: str) -> None:
        self._name = name
        self._warned = False

    def on_start(self, event: object) -> None:
        # The functions that a kernel calls are compiled within.
        if not self._warned:
            self._warned = True
            log.warning(
                "compiling_kernel",
                kernel=self._name,
                reason="the cache has nothing for this processor and source",
                hint="python -m marketdata.warm ingest aggregator gateway compiles ahead",
            )

    def on_end(self, event: object) -> None:
        pass


if __name__ == "__main__":
    # Ctrl-C ends all processes without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    compile_ahead(find_kernels(sys.argv[1:]))
