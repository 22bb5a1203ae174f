"""What the gateway's unit tests stand on."""

from __future__ import annotations

import os

import pytest

import gateway.kernel.encoder  # noqa: F401  its loops are loaded below
from marketdata.warm import load_kernels

# Before a test's own time counts.
load_kernels()


@pytest.fixture(autouse=True)
def _defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no settings of the shell that runs the tests."""
    for name in list(os.environ):
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)
