"""Every number on the page is the one that the server sent, also where the clock is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser

from tests.browser.visits import Visit, visiting
from tests.doubles.pipeline import make_tick
from tests.integration.gateway.live import Feed, feeding, gateway_to, live, until_status

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND = 10**9
FIVE_MINUTES_MS = 300_000
# What the page may be wrong by.
TOLERANCE_S = 0.05
# The trades of the test reach the page so late.
LATE_S = 0.4

# Before any script of the page: its machine's clock is wrong.
WRONG_CLOCK = """
    window.wrongBy = %d;
    const RightDate = Date;
    Date = class extends RightDate {
      constructor(...given) { given.length ? super(...given) : super(Date.now()); }
      static now() { return RightDate.now() + window.wrongBy; }
    };
    const origin = performance.timeOrigin + window.wrongBy;
    Object.defineProperty(performance, 'timeOrigin', { get: () => origin });
"""
# Every text that the cell of an age has had, and when by the right clock, in seconds.
WATCH_AGES = """(symbol) => {
    window.ages = [];
    const cell = document.querySelector(`[data-symbol="${symbol}"] .age`);
    new MutationObserver(() =>
      window.ages.push([cell.textContent, (Date.now() - window.wrongBy) / 1000]),
    ).observe(cell, { characterData: true, subtree: true });
}"""


@contextlib.asynccontextmanager
async def wrong_clock(browser: Browser, wrong_by_ms: int) -> AsyncIterator[tuple[Visit, Feed]]:
    async with live() as (address, feed), visiting(browser, address) as visit:
        await visit.page.context.add_init_script(WRONG_CLOCK % wrong_by_ms)
        yield visit, feed
        assert visit.problems == []


async def fact(visit: Visit, name: str) -> str:
    """Return what the status panel says of ``name``."""
    dt = visit.page.get_by_label("Status", exact=True).locator("dt", has_text=name)
    return await dt.locator("xpath=following-sibling::dd").inner_text()


@pytest.mark.parametrize("wrong_by_ms", [-FIVE_MINUTES_MS, 0, FIVE_MINUTES_MS])
async def test_latency_is_right_whatever_the_clock_of_the_browser_says(
    browser: Browser, wrong_by_ms: int
) -> None:
    async with wrong_clock(browser, wrong_by_ms) as (visit, feed):
        await feed.price("AAPL", 1.0)
        await visit.go()
        await visit.until_row("AAPL", "last", "1.00")
        # What a latency is measured with has come before the first price, and comes again.
        await asyncio.sleep(1.5)
        took: list[float] = []
        for number in range(20):
            price, ts_ns = 2.0 + number, time.time_ns() - int(LATE_S * SECOND)
            await feed.push(make_tick("AAPL", price, 1, ts_ns))
            await visit.until_row("AAPL", "last", f"{price:.2f}")
            took.append((time.time_ns() - ts_ns) / SECOND)
        await asyncio.sleep(0.6)
        shown, unit = (await fact(visit, "p50")).removeprefix("≈").split()
        p50 = float(shown) / (1000 if unit == "ms" else 1)
        assert LATE_S - TOLERANCE_S <= p50 <= sorted(took)[10] + TOLERANCE_S


@pytest.mark.parametrize("wrong_by_ms", [-FIVE_MINUTES_MS, 0, FIVE_MINUTES_MS])
async def test_ages_are_right_whatever_the_clock_of_the_browser_says(
    browser: Browser, wrong_by_ms: int
) -> None:
    async with wrong_clock(browser, wrong_by_ms) as (visit, feed):
        await feed.push(make_tick("OLD", ts_ns=time.time_ns() - 310 * SECOND))
        await feed.push(make_tick("AHEAD", ts_ns=time.time_ns() + 30 * SECOND))
        ts_ns = time.time_ns() - 2 * SECOND
        await feed.push(make_tick("AAPL", ts_ns=ts_ns))
        await visit.go()
        await visit.until_row("OLD", "age", "5m")
        await visit.until_row("AHEAD", "age", "\u2212")
        await visit.until(
            "document.querySelector('[data-symbol=AAPL] .age').textContent.endsWith('s')"
        )
        await visit.page.evaluate(WATCH_AGES, "AAPL")
        await visit.until("window.ages.length >= 3")
        ages: list[tuple[str, float]] = await visit.page.evaluate("window.ages")
        for text, at_s in ages:
            shown, really = float(text.removeprefix("≈").removesuffix("s")), at_s - ts_ns / SECOND
            # It is cut, not rounded, to a tenth or a whole second.
            unit = 0.1 if "." in text else 1.0
            assert shown - TOLERANCE_S <= really <= shown + unit + TOLERANCE_S


async def test_bars_that_share_a_millisecond_stand_side_by_side(browser: Browser) -> None:
    start = time.time_ns() // SECOND * SECOND
    async with contextlib.AsyncExitStack() as stack:
        port, feed = await stack.enter_async_context(feeding(bars="20v,1m"))
        address = await stack.enter_async_context(gateway_to(port))
        await until_status(address, "live")
        visit = await stack.enter_async_context(visiting(browser, address))
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{address}", trust_env=False)
        )

        async def bars(count: int) -> list[tuple[str, str]]:
            """Return what tells the bars apart, when there are ``count``."""
            while True:
                path = "/api/v1/marketdata/AAPL/bars?interval=20v&include_partial=true"
                found = (await http.get(path)).json()["bars"]
                if len(found) == count:
                    return [(bar["startNs"], str(bar["number"])) for bar in found]
                await asyncio.sleep(0.1)

        async def shown(count: int) -> list[tuple[str | None, str | None]]:
            """Return the same of the bars on the chart, pointing at one after the other."""
            await visit.until(
                "document.querySelector('.plot').dataset.bars === argument", f"{count}"
            )
            legend = visit.page.locator(".legend")
            box = await visit.page.locator(".plot").bounding_box()
            assert box is not None
            found: list[tuple[str | None, str | None]] = []
            x = box["x"] + box["width"] - 70
            while len(found) < count and x > box["x"]:
                await visit.page.mouse.move(x, box["y"] + box["height"] / 2)
                bar = (
                    await legend.get_attribute("data-start-ns"),
                    await legend.get_attribute("data-number"),
                )
                if bar not in found:
                    found.append(bar)
                x -= 2
            return found[::-1]

        # 45 shares are two bars of 20 and the first part of a third.
        for number in range(3):
            await feed.push(make_tick("AAPL", 10.0 + number, 45, start + number * 20_000))
        expected = await bars(7)
        await visit.go("/#/AAPL/20v")
        assert await shown(7) == expected
        # And those that come while somebody looks.
        await feed.push(make_tick("AAPL", 13.5, 45, start + 60_000))
        assert await shown(9) == await bars(9)
        assert visit.problems == []


# What the watchlist says of a price, and of a volume.
PRICES: dict[str, tuple[float, int]] = {
    "BILLIONS": (11_560_000_000.0, 9_007_199_254_740_993),
    "TINY": (1.239e-9, 1),
    "DIGITS": (0.30000000000000004, 12_345),
    "HUGE": (1.5e300, 999),
    "LONG.SYMBOL.OF.32.CHARACTERS.XYZ": (123_456.789_012, 1_000_000),
}


async def cells(visit: Visit) -> list[dict[str, Any]]:
    """Return the cells with their texts, and whether they are cut off without a sign of it."""
    found: list[dict[str, Any]] = await visit.page.evaluate(
        """() => [...document.querySelectorAll('.grid .row .cell:not(.trend)')]
             .filter((cell) => cell.clientWidth > 0)
             .map((cell) => ({
               symbol: cell.parentElement.dataset.symbol,
               column: cell.classList[1],
               text: cell.textContent,
               cut: cell.scrollWidth > cell.clientWidth,
               marked: getComputedStyle(cell).textOverflow === 'ellipsis',
             }))"""
    )
    return found


@pytest.mark.parametrize("width", [1440, 1000, 390])
async def test_a_number_has_all_its_digits_or_says_that_it_has_not(
    browser: Browser, width: int
) -> None:
    viewport = {"width": width, "height": 860}
    async with live() as (address, feed), visiting(browser, address, viewport=viewport) as visit:
        for symbol, (price, volume) in PRICES.items():
            await feed.push(make_tick(symbol, price, volume))
        await visit.go("/#/TINY/1m")
        for symbol in PRICES:
            await visit.until_row(symbol, "age", "s")
        await visit.until("document.querySelector('.legend') !== null")
        for cell in await cells(visit):
            assert cell["marked"] or not cell["cut"], cell
            if cell["column"] not in {"last", "high", "low"}:
                continue
            # A number is cut by us, who know which of its digits matter; never by the browser.
            assert not cell["cut"], cell
            price, _ = PRICES[cell["symbol"]]
            text = cell["text"].removeprefix("≈")
            # Of 11.56B the B is an exponent.
            number = float(text.replace("B", "e9"))
            assert number == (price if cell["text"] == text else pytest.approx(price, rel=0.01)), (
                cell
            )
        # Point at a cell, and it has all digits.
        last = visit.page.locator("[data-symbol=DIGITS] .last")
        await last.hover()
        assert float(await last.get_attribute("title") or "") == 0.30000000000000004
        headline = await visit.page.locator(".headline .price").inner_text()
        assert float(headline) == 1.239e-9
        for entry in ("O", "H", "L", "C"):
            dt = visit.page.locator(".legend dt", has_text=entry).first
            assert float(await dt.locator("xpath=following-sibling::dd").inner_text()) == 1.239e-9
        assert visit.problems == []
