"""The client of graphql-ws, from npm."""

from __future__ import annotations

from typing import Any

from tests.conformance.node_tools import node_script
from tests.doubles.market import Market


def live(**fields: Any) -> dict[str, Any]:
    return {"data": {"marketData": fields}, "extensions": {"dataStatus": "live"}}


async def test_the_client_asks_follows_errs_and_comes_back(market: Market) -> None:
    async with node_script("graphql_ws_client.mjs", f"ws://{market.address}/graphql") as client:

        async def step(name: str) -> Any:
            said = await client.next()
            assert said["step"] == name
            return said["result"]

        aapl = live(symbol="AAPL", close=151.5)
        assert await step("query") == {"results": [aapl], "completed": True}
        assert await step("snapshot") == aapl
        await step("ready")
        await market.trade("AAPL", 152.0)
        aapl = live(symbol="AAPL", close=152.0)
        assert await step("update") == aapl
        assert await step("re-used id") == {"results": [live(close=420.0)], "completed": True}
        assert await step("errors") == [
            {"results": [], "codes": ["GRAPHQL_PARSE_FAILED"]},
            {"results": [], "codes": ["GRAPHQL_VALIDATION_FAILED"]},
            {"results": [], "codes": ["BAD_USER_INPUT"]},
        ]
        # None of them cost the connection.
        assert await step("sockets") == 1
        assert await step("after the cut") == aapl
        assert await step("sockets") == 2
