"""How many ticks go together inside the fakeclient."""

from __future__ import annotations

# What is generated, encoded and written at once: about 150 KB and 10 ms of Python, so that signals
# and the progress line are never late and the kernel still gets large writes.
MAX_GROUP = 4096
