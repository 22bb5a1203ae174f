"""The dashboard as a person sees it, on a real gateway and a real aggregator."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.browser.visits import visiting
from tests.doubles.pipeline import make_tick
from tests.doubles.ports import free_port
from tests.doubles.processes import run_gateway, run_service
from tests.integration.gateway.live import live

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_it_shows_what_rest_says_at_the_same_sequence(browser: Browser) -> None:
    async with live() as (address, feed), visiting(browser, address) as visit:
        # More than a number of JavaScript holds.
        await feed.push(make_tick("AAPL", 150.25, 9_007_199_254_740_000))
        await feed.price("AAPL", 152.1, 149.875, 151.5)
        await feed.price("BRK/B", 451.3)
        await visit.go()
        await visit.until_row("AAPL", "last", "151.500")
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
            # On a busy machine it may take longer than the gateway waits.
            while (answer := await http.get("/api/v1/marketdata/AAPL")).json()["close"] is None:
                assert answer.headers["x-data-status"] == "fallback"
            said = answer.json()
        shown = await visit.row("AAPL")
        assert shown["sequence"] == said["sequence"]
        assert float(shown["last"]) == said["close"]
        assert float(shown["high"]) == said["high"]
        assert float(shown["low"]) == said["low"]
        assert shown["volume"] == "9.00Qa"
        assert shown["change"] == "+1.250"
        assert shown["percent"] == "+0.83"
        await visit.until_row("BRK/B", "last", "451.30")
        assert (await visit.row("BRK/B"))["change"] == "0.00"
        assert await visit.page.locator(".headline .price").inner_text() == "151.500"


async def test_prices_move_and_new_symbols_appear(browser: Browser) -> None:
    async with live() as (address, feed), visiting(browser, address) as visit:
        await feed.price("AAPL", 150.0)
        await visit.go()
        await visit.until_row("AAPL", "last", "150.00")
        await feed.price("AAPL", 149.5)
        await visit.until_row("AAPL", "last", "149.50")
        assert (await visit.row("AAPL"))["change"] == "\u22120.50"
        await feed.price("NEW", 7.0)
        await visit.until_row("NEW", "last", "7.00")
        assert visit.page.url.endswith("/")


@pytest.mark.alone
async def test_a_killed_aggregator_makes_it_stale_and_it_heals_by_itself(browser: Browser) -> None:
    port = free_port()
    env = {"AGGREGATOR_PORT": str(port)}
    async with contextlib.AsyncExitStack() as stack:
        aggregator = await stack.enter_async_context(run_service("aggregator", env))
        await aggregator.wait_for_port()
        _, http = await stack.enter_async_context(run_gateway(port))
        visit = await stack.enter_async_context(visiting(browser, http.base_url.netloc.decode()))
        await visit.go()
        await visit.until_connection("Live")
        await aggregator.stop(signal.SIGKILL)
        async with asyncio.timeout(3):
            await visit.until("document.documentElement.dataset.market === 'stale'")
            await visit.until("document.title.startsWith('STALE')")
        assert "last known" in await visit.page.get_by_role("status").first.inner_text()
        again = await stack.enter_async_context(run_service("aggregator", env))
        await again.wait_for_port()
        await visit.until_connection("Live")
        await visit.until("document.documentElement.dataset.market === 'live'")
        await visit.until("document.title === 'Market data'")


async def test_a_gateway_that_goes_is_waited_for_with_a_countdown(browser: Browser) -> None:
    port = free_port()
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        upstream = await aggregator.wait_for_port()
        gateway = run_gateway(upstream, GATEWAY_PORT=str(port))
        async with visiting(browser, f"127.0.0.1:{port}") as visit:
            async with gateway:
                await visit.go()
                await visit.until_connection("Live")
            await visit.until_connection("Disconnected")
            pill = visit.page.locator('[data-connection="Disconnected"]')
            await expect(pill).to_contain_text("again in")
            assert await visit.page.evaluate("document.documentElement.dataset.market") == "stale"
            async with run_gateway(upstream, GATEWAY_PORT=str(port)):
                await visit.until_connection("Live")
                await visit.until("document.documentElement.dataset.market === 'live'")


async def test_symbols_are_filtered_added_sorted_and_kept(browser: Browser) -> None:
    async with live() as (address, feed), visiting(browser, address) as visit:
        for symbol, price in (("AAPL", 3.0), ("AMD", 1.0), ("MSFT", 2.0)):
            await feed.price(symbol, price)
        await visit.go()
        await visit.until_row("MSFT", "last", "2.00")
        page = visit.page
        names = page.locator(".grid .row .symbol")

        async def shown() -> list[str]:
            places = await page.locator(".grid .row").evaluate_all(
                "rows => rows.map((row) => [+row.ariaRowIndex, row.dataset.symbol])"
                ".sort((a, b) => a[0] - b[0]).map((each) => each[1])"
            )
            return list(places)

        assert await shown() == ["AAPL", "AMD", "MSFT"]
        await page.get_by_role("button", name="Last").click()
        assert await shown() == ["AAPL", "MSFT", "AMD"]
        await page.get_by_role("searchbox").fill("am")
        await expect(names).to_have_text(["AMD"])
        # One that has no data yet is followed from its first trade on.
        await page.get_by_role("searchbox").fill("ZZZ")
        await page.keyboard.press("Enter")
        await visit.until_row("ZZZ", "last", "\u2013")
        await feed.price("ZZZ", 9.0)
        await visit.until_row("ZZZ", "last", "9.00")
        assert await page.locator(".headline .symbol").inner_text() == "ZZZ"
        await page.get_by_label("All").uncheck()
        await expect(names).to_have_text(["ZZZ"])
        await page.reload()
        await expect(names).to_have_text(["ZZZ"])
        await visit.until_row("ZZZ", "last", "9.00")


async def test_nothing_leaves_the_host_and_nothing_breaks_the_policy(browser: Browser) -> None:
    async with live() as (address, feed), visiting(browser, address) as visit:
        await feed.price("AAPL", 150.0)
        await visit.go()
        await visit.until_row("AAPL", "last", "150.00")
        page = visit.page
        await page.get_by_role("link", name="Connect").click()
        for name, said in (
            ("REST", "HTTP 200"),
            ("Server-sent events", '"close":150.0'),
            ("WebSocket", '"close":150.0'),
            ("STOMP", "CONNECTED"),
            ("GraphQL", '"close":150.0'),
        ):
            await page.get_by_role("button", name=f"Run it here: {name}", exact=True).click()
            await page.get_by_label(f"What {name} answers").get_by_text(said).first.wait_for()
            await page.get_by_role("button", name=f"Stop: {name}", exact=True).click()
        assert visit.elsewhere() == []
        assert await visit.violations() == []
        assert f"ws://{address}/api/v1/stream" in visit.requests


async def test_snippets_name_this_host_and_symbol_and_can_be_copied(browser: Browser) -> None:
    async with live() as (address, _), visiting(browser, address) as visit:
        await visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await visit.go("/#/BRK%2FB/1m")
        await visit.page.get_by_role("link", name="Connect").click()
        await visit.page.get_by_role("button", name="Copy: REST", exact=True).click()
        await visit.page.get_by_text("Copied").wait_for()
        copied = await visit.page.evaluate("navigator.clipboard.readText()")
        assert copied == f"curl 'http://{address}/api/v1/marketdata/BRK%2FB'"
