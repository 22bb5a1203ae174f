"""GraphiQL in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.app import STATIC
from tests.conformance.node_tools import need_chromium, node_script
from tests.doubles.market import Market


async def test_a_person_asks_and_follows_in_graphiql(market: Market, tmp_path: Path) -> None:
    chromium = need_chromium()
    if not (STATIC / "graphiql" / "index.html").exists():
        pytest.skip("GraphiQL is not built: make assets")
    screenshot = tmp_path / "graphiql.png"
    url = f"http://{market.address}/graphiql"
    async with node_script("graphiql.mjs", chromium, url, str(screenshot)) as page:

        async def step(name: str) -> Any:
            said = await page.next()
            assert said["step"] == name
            return said["result"]

        # The sample query, as it stands there.
        shown = await step("query")
        assert '"symbol": "AAPL"' in shown
        assert '"close": 151.5' in shown
        # The sample subscription.
        await step("subscribed")
        await market.trade("AAPL", 163.25)
        assert '"close": 163.25' in await step("changed")
        requests = await step("requests")
        assert await step("problems") == []
    assert f"ws://{market.address}/graphql" in requests
    assert any(".worker-" in request for request in requests)
    elsewhere = [
        request
        for request in requests
        if not request.startswith((f"http://{market.address}/", f"ws://{market.address}/"))
        and not request.startswith(("data:", "blob:"))
    ]
    assert elsewhere == []
    assert screenshot.stat().st_size > 10_000
