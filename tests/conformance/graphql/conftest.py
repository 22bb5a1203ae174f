"""A market to ask about."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conformance.node_tools import need_node
from tests.doubles.market import Market, run_market


@pytest.fixture(scope="session", autouse=True)
def node() -> None:
    need_node()


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    async with run_market() as market:
        await market.trade("AAPL", 150.25, 151.5)
        await market.trade("MSFT", 420.0)
        yield market
