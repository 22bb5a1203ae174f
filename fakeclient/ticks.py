"""The ticks that the fakeclient makes, and how many it sends at once."""

from __future__ import annotations

# Symbol, price, volume and exchange time. A plain tuple: one is made per trade, and a named one
# costs 0.3 µs more.
Row = tuple[str, float, int, int]

# About 150 KB and 10 ms of Python: signals and the progress are handled in time, and the kernel
# still gets large writes.
MAX_GROUP = 4096
