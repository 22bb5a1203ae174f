"""The chart: history joined to live bars, which may be revised."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.bars import Bars
from tests.browser.visits import Visit, visiting
from tests.integration.gateway.live import live
from tests.integration.gateway.streams import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@contextlib.asynccontextmanager
async def charting(browser: Browser, bars: Bars) -> AsyncIterator[Visit]:
    """Open the chart of AAPL on ``bars``, and wait until it shows them."""
    async with live() as (address, feed), visiting(browser, address) as visit:
        await feed.price("AAPL", 101.0)
        await bars.serve(visit.page)
        await visit.go("/#/AAPL/1m")
        await visit.until("document.querySelector('.legend') !== null")
        yield visit
        assert visit.problems == []
        assert await visit.violations() == []


async def legend(visit: Visit) -> dict[str, str]:
    """Return what is written over the chart."""
    entries: dict[str, str] = await visit.page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('.legend > div')].map(
             (each) => [each.children[0].textContent, each.children[1].textContent]))"""
    )
    return entries


async def until_bars(visit: Visit, count: int) -> None:
    await visit.until("document.querySelector('.plot').dataset.bars === argument", str(count))


async def hover(visit: Visit, back: int) -> None:
    """Point at the bar ``back`` before the last one, going left from the right edge."""
    box = await visit.page.locator(".plot").bounding_box()
    assert box is not None
    starts: list[str] = []
    x = box["x"] + box["width"] - 70
    while len(starts) <= back:
        x -= 1
        await visit.page.mouse.move(x, box["y"] + box["height"] / 2)
        start = await visit.page.locator(".legend").get_attribute("data-start")
        if start is not None and start not in starts:
            starts.append(start)


async def test_history_goes_on_live_without_a_hole_or_a_repeat(browser: Browser) -> None:
    bars = Bars(count=300)
    async with charting(browser, bars) as visit:
        await until_bars(visit, 300)
        last = bars.bars[-1]
        shown = await legend(visit)
        assert float(shown["O"]) == last["open"]
        assert float(shown["C"]) == last["close"]
        # Exact, though it is more than a number of JavaScript holds.
        assert int(shown["V"].replace(",", "")) == int(last["volume"])
        bars.publish(300, state="partial", complete=False)
        await until_bars(visit, 301)
        assert (await legend(visit))["Remark"] == "open"
        bars.publish(300, state="partial", complete=False, close=103.5, high=104.0)
        await visit.page.locator(".legend", has_text="103.50").wait_for()
        bars.publish(300, state="final", close=103.5, high=104.0)
        bars.publish(301, state="partial", close=99.75)
        await until_bars(visit, 302)
        await visit.page.locator(".legend", has_text="99.75").wait_for()


async def test_a_revised_bar_corrects_the_chart(browser: Browser) -> None:
    bars = Bars(count=300)
    async with charting(browser, bars) as visit:
        await until_bars(visit, 300)
        await hover(visit, 2)
        legend_of = visit.page.locator(".legend")
        start = await legend_of.get_attribute("data-start")
        minute = next(n for n, bar in enumerate(bars.bars) if bar["start"] == start)
        assert minute < 299
        bars.publish(minute, state="revised", revision=1, close=98.125, low=98.0)
        # The crosshair has not moved: what is there is another bar now.
        await visit.page.mouse.move(600, 20)
        await hover(visit, 2)
        assert await legend_of.get_attribute("data-revision") == "1"
        shown = await legend(visit)
        assert (shown["C"], shown["L"], shown["Remark"]) == ("98.125", "98.000", "revised \u00d71")
        # An older state that comes late changes nothing.
        await until_bars(visit, 300)


async def test_a_bar_that_comes_late_into_a_hole_is_put_there(browser: Browser) -> None:
    bars = Bars(count=300)
    missing = bars.bars.pop(290)
    async with charting(browser, bars) as visit:
        await until_bars(visit, 299)
        bars.bars.insert(290, missing)
        bars.publish(290, state="revised", revision=1)
        await until_bars(visit, 300)


async def test_scrolling_left_loads_older_bars(browser: Browser) -> None:
    bars = Bars(count=2500)
    async with charting(browser, bars) as visit:
        await until_bars(visit, 1000)
        box = await visit.page.locator(".plot").bounding_box()
        assert box is not None
        await visit.page.mouse.move(box["x"] + 200, box["y"] + 200)
        for expected in (2000, 2500):
            while await visit.page.locator(".plot").get_attribute("data-bars") != str(expected):
                await visit.page.mouse.wheel(-4000, 0)
        assert [question.get("to") for question in bars.questions] == [
            None,
            bars.bars[1500]["startNs"],
            bars.bars[500]["startNs"],
        ]


def intervals_asked(bars: Bars) -> list[str]:
    return [question["interval"] for question in bars.questions]


async def test_the_interval_the_scale_and_the_vwap_are_chosen(browser: Browser) -> None:
    bars = Bars(count=50)
    async with charting(browser, bars) as visit:
        page = visit.page
        await page.get_by_role("button", name="5m", exact=True).click()
        await visit.until("location.hash === '#/AAPL/5m'")
        await eventually(lambda: intervals_asked(bars) == ["1m", "5m"])
        await page.get_by_label("Another interval").fill("100t")
        await page.keyboard.press("Enter")
        await visit.until("location.hash === '#/AAPL/100t'")
        await eventually(lambda: intervals_asked(bars) == ["1m", "5m", "100t"])
        for name in ("Log", "VWAP"):
            button = page.get_by_role("button", name=name, exact=True)
            before = await button.get_attribute("aria-pressed")
            await button.click()
            assert await button.get_attribute("aria-pressed") != before


async def test_the_chart_is_saved_as_a_picture(browser: Browser, tmp_path: Path) -> None:
    async with charting(browser, Bars(count=50)) as visit:
        async with visit.page.expect_download() as download:
            await visit.page.get_by_role("button", name="PNG").click()
        file = await download.value
        assert file.suggested_filename == "AAPL-1m.png"
        await file.save_as(tmp_path / "chart.png")
        assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


async def test_the_status_panel_says_what_the_status_says(browser: Browser) -> None:
    bars = Bars(count=50)
    async with charting(browser, bars) as visit:
        panel = visit.page.get_by_label("Status", exact=True)
        for said in ("2 producers", "bad price", "9,007,199,254,740,995", "9.00Qa"):
            await panel.get_by_text(said).wait_for()
        # What the aggregator offers, not what is usual.
        buttons = visit.page.get_by_role("group", name="Interval").get_by_role("button")
        await expect(buttons).to_have_text(["1s", "1m", "5m"])
        bars.status["gateway"]["breaker"] = "open"
        bars.status["aggregator"]["feeds"][0]["producers"] = 0
        await panel.get_by_text("open", exact=True).wait_for()
        # Prices that nobody feeds do not look alive.
        await visit.until("document.documentElement.dataset.market === 'orphaned'")
        await visit.page.get_by_text("No producer is connected").wait_for()


@pytest.mark.parametrize(("count", "interval"), [(5, "1s"), (300, "1m")])
async def test_the_first_chart_has_bars_of_a_second_while_there_are_few_of_a_minute(
    browser: Browser, count: int, interval: str
) -> None:
    bars = Bars(count=count)
    async with live() as (address, feed), visiting(browser, address) as visit:
        await feed.price("AAPL", 101.0)
        await bars.serve(visit.page)
        await visit.go("/")
        await until_bars(visit, count)
        await expect(visit.page.get_by_role("button", name=interval, exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        # The address says an interval when the person has chosen one.
        assert await visit.page.evaluate("location.hash") == ""
        assert visit.problems == []
