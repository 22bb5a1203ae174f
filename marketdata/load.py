"""Measure how busy a process is."""

from __future__ import annotations

import time
from collections.abc import Callable

# A shorter time says little: the kernel counts some processes in ticks of milliseconds.
MEASURED_S = 0.1
# How much the newest measurement counts.
WEIGHT = 0.5


class LoadMeter:
    """The CPU that this process takes, in cores; it measures only while it is asked.

    Args:
        clock: seconds on a clock that never goes back.
        cpu: the CPU time of the process so far, in seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._at = clock()
        self._used_s = cpu()
        self._load = 0.0

    def read(self) -> float:
        """Return the load of the last tenths of a second, or since it was last asked."""
        now = self._clock()
        elapsed_s = now - self._at
        if elapsed_s >= MEASURED_S:
            used_s = self._cpu()
            newest = (used_s - self._used_s) / elapsed_s
            self._load += WEIGHT * (newest - self._load)
            self._at, self._used_s = now, used_s
        return self._load
