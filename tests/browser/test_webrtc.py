"""Market data over WebRTC in a real browser, by the client that we give to browsers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.browser.visits import Visit, visiting
from tests.doubles.ports import free_port
from tests.integration.gateway.live import feeding, gateway_to, live, until_status
from tests.integration.gateway.streams import run_market

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Follows AAPL over a data channel, and keeps what comes.
FOLLOW = """
    async (options) => {
      const url = '/static/dashboard/marketdata-client.js';
      const { MarketDataClient, webRtcTransport } = await import(url);
      window.phases = [];
      window.updates = [];
      window.client = new MarketDataClient({
        transport: () => webRtcTransport(location.href),
        onState: ({ phase }) => window.phases.push(phase),
      });
      window.client.subscribe(
        { symbols: ['AAPL'], ...options },
        { onUpdate: (update) => window.updates.push(update) },
      );
      window.client.open();
    }
"""


async def follow(visit: Visit, **options: object) -> None:
    # A page without a stream of its own, whose policy lets it load our scripts.
    await visit.go("/docs")
    await visit.page.evaluate(FOLLOW, options)
    await visit.until("window.phases.at(-1) === 'open'")


async def newest(visit: Visit, count: int) -> Any:
    """Return the update that makes it so many."""
    await visit.until("window.updates.length >= argument", count)
    return await visit.page.evaluate("(count) => window.updates[count - 1]", count)


async def test_it_receives_what_rest_says(browser: Browser) -> None:
    async with live() as (address, feed), visiting(browser, address) as visit:
        await feed.price("AAPL", 10.0, 12.5)
        await follow(visit)
        update = await newest(visit, 1)
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
            assert update["data"] == (await http.get("/api/v1/marketdata/AAPL")).json()
        await feed.price("AAPL", 13.0)
        update = await newest(visit, 2)
        assert update["data"]["close"] == 13.0
        assert not any("/stream" in url for url in visit.requests)
        assert visit.elsewhere() == []


async def test_it_survives_a_restart_of_the_gateway(browser: Browser) -> None:
    own = free_port()
    async with (
        feeding() as (port, feed),
        visiting(browser, f"127.0.0.1:{own}") as visit,
    ):
        async with gateway_to(port, port=own) as address:
            await until_status(address, "live")
            await feed.price("AAPL", 10.0)
            await follow(visit, policy="buffer")
            await newest(visit, 1)
        await visit.until("window.phases.at(-1) === 'waiting'")
        await feed.price("AAPL", 11.0, 12.0)
        async with gateway_to(port, port=own):
            await visit.until("window.updates.at(-1).data.close === 12")
            await feed.price("AAPL", 13.0)
            await visit.until("window.updates.at(-1).data.close === 13")
            sequences = await visit.page.evaluate("window.updates.map((each) => +each.sequence)")
            assert sequences == sorted(set(sequences))


async def test_a_page_that_is_closed_leaves_no_peer(browser: Browser) -> None:
    async with run_market() as (gateway, _, producer):
        await producer.publish("AAPL")
        async with visiting(browser, gateway.address) as visit:
            await follow(visit)
            await newest(visit, 1)
            assert len(gateway.streams) == 1
            await visit.go("/docs")
            await gateway.wait_until_left()
            await follow(visit)
            await newest(visit, 1)
        await gateway.wait_until_left()


async def test_the_switch_of_the_dashboard_receives_data_and_survives_a_restart(
    browser: Browser,
) -> None:
    own = free_port()
    async with feeding() as (port, feed), visiting(browser, f"127.0.0.1:{own}") as visit:
        switch = visit.page.get_by_role("button", name="WebRTC")
        async with gateway_to(port, port=own) as address:
            await until_status(address, "live")
            await feed.price("AAPL", 150.25)
            await visit.go()
            await visit.until_row("AAPL", "last", "150.25")
            await switch.click()
            await expect(switch).to_have_attribute("aria-pressed", "true")
            await visit.until_connection("Live")
            assert any(url.endswith("/ws") for url in visit.requests)
            await feed.price("AAPL", 151.75)
            await visit.until_row("AAPL", "last", "151.75")
        await visit.until_connection("Disconnected")
        async with gateway_to(port, port=own):
            await visit.until_connection("Live")
            await feed.price("AAPL", 152.5)
            await visit.until_row("AAPL", "last", "152.50")
        assert sum("/api/v1/stream" in url for url in visit.requests) == 1
