"""Compile the hot loops ahead: ``python -m marketdata.warm ingest.kernel ...``.

Compiling takes seconds, loading what was compiled before a tenth of one, so ``make setup`` and the
image compile when they install.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module

import structlog
from numba.core import event

from marketdata.kernels import KERNELS

log = structlog.get_logger()


def load_kernels() -> None:
    """Make every kernel that was imported ready; say so if that means to compile."""
    for dispatcher, signature in KERNELS.waiting:
        began = time.perf_counter()
        name = f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__qualname__}"
        with event.install_listener("numba:compile", _Announce(name)):
            try:
                dispatcher.compile(signature)
            except OSError as exc:
                # Compiled it is; only the next start will have to do it again.
                log.warning("compiled code cannot be kept", kernel=name, error=str(exc))
        # Other types would be a mistake, and compiling for them would stop the service for seconds.
        dispatcher.disable_compile()
        if dispatcher.stats.cache_misses:
            log.info("compiled", kernel=name, seconds=round(time.perf_counter() - began, 1))
    KERNELS.waiting.clear()


class _Announce(event.Listener):
    # Told only when nothing that fits is in the cache.
    def __init__(self, name: str) -> None:
        self._name = name
        self._told = False

    def on_start(self, event: object) -> None:
        # What the kernel calls is compiled within.
        if not self._told:
            self._told = True
            log.warning(
                "compiling, the cache has nothing for this processor and source",
                kernel=self._name,
                hint="python -m marketdata.warm does it ahead",
            )

    def on_end(self, event: object) -> None:
        pass


def main(modules: list[str]) -> None:
    """Compile the kernels of ``modules`` if they are not in the cache."""
    for module in modules:
        import_module(module)
    load_kernels()


if __name__ == "__main__":
    main(sys.argv[1:])
