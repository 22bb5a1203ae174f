"""Compile the loops before a test's own time counts."""

from __future__ import annotations

from marketdata.warm import load_kernels

load_kernels()
