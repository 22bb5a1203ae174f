"""Bars in the page, from a real aggregator through a real gateway."""

from __future__ import annotations

import time

import httpx
import pytest
from playwright.async_api import Browser

from tests.browser.visits import visiting
from tests.doubles.pipeline import make_tick
from tests.integration.gateway.live import live

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTE = 60 * 10**9
# Fewer than the minutes in which a bar may be revised: without a store older ones are forgotten.
BARS = 12
# An hour ago: a replay, in which only the data's own clock counts.
START = (time.time_ns() - 60 * MINUTE) // MINUTE * MINUTE


async def test_a_late_trade_corrects_the_chart_and_it_shows_what_rest_says(
    browser: Browser,
) -> None:
    async with live() as (address, feed), visiting(browser, address) as visit:
        for minute in range(BARS):
            # A hole where a late trade makes a bar later.
            if minute != BARS - 6:
                ts = START + minute * MINUTE
                await feed.push(make_tick("AAPL", 100.0 + minute, 5, ts))
        await visit.go("/#/AAPL/1m")
        plot, legend = visit.page.locator(".plot"), visit.page.locator(".legend")
        await visit.until(f"document.querySelector('.plot')?.dataset.bars === '{BARS - 1}'")
        await legend.get_by_text("open").wait_for()
        # The open bar goes on, and is closed by the next.
        last = START + (BARS - 1) * MINUTE
        await feed.push(make_tick("AAPL", 150.25, 5, last + 10**9))
        await legend.get_by_text("150.25").first.wait_for()
        await feed.push(make_tick("AAPL", 120.0, 5, last + MINUTE))
        await visit.until(f"document.querySelector('.plot').dataset.bars === '{BARS}'")
        # Late: one changes a closed bar, one makes a bar where there was none.
        await feed.push(make_tick("AAPL", 90.5, 5, last - 2 * MINUTE + 1))
        await feed.push(make_tick("AAPL", 91.5, 5, last - 5 * MINUTE + 1))
        await visit.until(f"document.querySelector('.plot').dataset.bars === '{BARS + 1}'")
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
            path = "/api/v1/marketdata/AAPL/bars?interval=1m&include_partial=true"
            bars = (await http.get(path)).json()["bars"]
        revised = [bar for bar in bars if bar["revision"]]
        assert [bar["low"] for bar in revised] == [90.5]
        # Point at one bar after the other, until it is the revised one.
        box = await plot.bounding_box()
        assert box is not None
        x = box["x"] + box["width"] - 70
        while await legend.get_attribute("data-start") != revised[0]["start"]:
            x -= 2
            assert x > box["x"], "the revised bar is not on the chart"
            await visit.page.mouse.move(x, box["y"] + box["height"] / 2)
        assert await legend.get_attribute("data-revision") == "1"
        assert "90.50" in await legend.inner_text()
        assert "revised" in await legend.inner_text()
        assert visit.problems == []
        assert await visit.violations() == []
