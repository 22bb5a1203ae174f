"""How many ticks the fakeclient makes and sends at once."""

from __future__ import annotations

# About 150 KB and 10 ms of Python: signals and the progress are handled in time, and the kernel
# still gets large writes.
MAX_GROUP = 4096
