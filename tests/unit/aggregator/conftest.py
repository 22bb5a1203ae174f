"""Compile the loops before a test's own time counts."""

from __future__ import annotations

import aggregator.bars.kernel
import aggregator.encoder
import aggregator.kernel  # noqa: F401  what is loaded
from marketdata.warm import load_kernels

load_kernels()
