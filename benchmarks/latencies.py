"""Summarize latencies, and the values of repeated measurements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

# With fewer values the range of the median is less than 95 % sure.
FEWEST_SURE = 6


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of repeats of one measurement."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value; the one to quote."""
        return median(self.values)

    def median_range(self) -> tuple[float, float]:
        """Return the range in which the median of endless repeats is, with 95 % sureness.

        This is the sign test, which holds for any distribution: a value is above that median as
        often as a coin shows heads. Fewer than ``FEWEST_SURE`` values give their ends.
        """
        values, count = sorted(self.values), len(self.values)
        # How often, of 2**count, the median is outside if so many are left out at each end.
        outside = 0
        left_out = -1
        while left_out < count // 2:
            outside += 2 * comb(count, left_out + 1)
            if outside > 0.05 * 2**count:
                break
            left_out += 1
        left_out = max(left_out, 0)
        return values[left_out], values[count - 1 - left_out]

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        values = self.values
        return {"median": self.median, "min": min(values), "max": max(values), "values": values}


class Latencies:
    """How long each of many ticks took, in seconds."""

    def __init__(self, seconds: Iterable[float] | NDArray[np.float64]) -> None:
        found = seconds if isinstance(seconds, np.ndarray) else np.fromiter(seconds, np.float64)
        self.seconds: NDArray[np.float64] = np.sort(found)

    def __len__(self) -> int:
        return len(self.seconds)

    def percentile(self, percent: float) -> float:
        """Return the value that ``percent`` of all are not above."""
        rank = int(np.ceil(len(self.seconds) * percent / 100))
        return float(self.seconds[max(rank, 1) - 1])

    def histogram(self) -> dict[float, int]:
        """Return how many are at most each bound, in ms, and above half of it."""
        powers = np.ceil(np.log2(np.maximum(self.seconds * 1000, 1e-3))).astype(np.int64)
        found, counts = np.unique(powers, return_counts=True)
        by_power = dict(zip(found.tolist(), counts.tolist(), strict=True))
        return {2.0**p: by_power.get(p, 0) for p in range(min(by_power), max(by_power) + 1)}

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the JSON file, in ms."""
        return {
            "count": len(self),
            **{f"p{p}_ms": self.percentile(p) * 1000 for p in (50, 90, 99, 99.9)},
            "max_ms": float(self.seconds[-1]) * 1000,
            "histogram_ms": {f"{bound:g}": count for bound, count in self.histogram().items()},
        }
