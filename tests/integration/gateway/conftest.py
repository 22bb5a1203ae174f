"""What the gateway's integration tests stand on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway.doubles import FakeAggregator, running_aggregator


@pytest.fixture(autouse=True)
def _defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no settings of the shell that runs the tests."""
    for name in list(os.environ):
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)


@pytest.fixture
async def aggregator() -> AsyncIterator[FakeAggregator]:
    async with running_aggregator() as aggregator:
        yield aggregator
