"""What the gateway's integration tests stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway.doubles import FakeAggregator, running_aggregator


@pytest.fixture
async def aggregator() -> AsyncIterator[FakeAggregator]:
    async with running_aggregator() as aggregator:
        yield aggregator
