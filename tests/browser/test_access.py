"""The dashboard for everybody: screen readers, keyboards, small screens, light and dark."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from scripts.node import find_node
from tests.browser.bars import Bars
from tests.browser.visits import visiting
from tests.integration.gateway.live import live

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = Path(__file__).resolve().parents[2] / "gateway"


@functools.cache
def axe() -> str:
    """Return the script that is axe."""
    find_node().install(FOLDER)
    return (FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


async def violations(page: Page) -> list[str]:
    """Return what axe, which knows the WCAG, objects to."""
    # Not as a script of the page: its policy would not have it.
    await page.evaluate(axe() + "; undefined")
    found: list[dict[str, Any]] = (await page.evaluate("axe.run()"))["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} {node['any']}"
        for each in found
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_has_no_objections(browser: Browser, theme: Any) -> None:
    async with live() as (address, feed), visiting(browser, address, color_scheme=theme) as visit:
        for number in range(60):
            await feed.price(f"S{number}", 10.0, 10.0 + number % 3 - 1)
        await Bars(count=50).serve(visit.page)
        await visit.go()
        await visit.until_row("S0", "last", "9.00")
        await visit.until("document.querySelector('.legend') !== null")
        background = await visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(11, 15, 21)") == (theme == "dark")
        assert await violations(visit.page) == []
        await visit.page.keyboard.press("?")
        assert await violations(visit.page) == []
        await visit.page.keyboard.press("Escape")
        await visit.page.keyboard.press("c")
        await visit.page.get_by_role("heading", name="Connect").wait_for()
        assert await violations(visit.page) == []


async def test_stale_is_readable_too(browser: Browser) -> None:
    async with visiting(browser, "") as visit, live() as (address, _):
        visit.address = address
        await visit.go()
        await visit.until_connection("Live")
        await visit.page.context.set_offline(True)
        await visit.page.route_web_socket("**/*", lambda socket: None)
        await visit.page.evaluate("document.documentElement.dataset.market = 'stale'")
        found = await violations(visit.page)
        assert found == []


async def test_all_is_reached_and_done_by_keyboard(browser: Browser) -> None:
    async with live() as (address, feed), visiting(browser, address) as visit:
        for symbol, price in (("AAPL", 3.0), ("AMD", 1.0), ("MSFT", 2.0)):
            await feed.price(symbol, price)
        await visit.go()
        await visit.until_row("MSFT", "last", "2.00")
        page = visit.page
        # Each control has its turn, and the first leads past the others.
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
        reached: list[str] = []
        for _ in range(40):
            await page.keyboard.press("Tab")
            name = await page.evaluate(
                "document.activeElement.ariaLabel ?? document.activeElement.textContent"
            )
            if name in reached:
                break
            reached.append(name)
        for expected in ("Connect", "GraphiQL", "Light theme", "Prices", "5m", "Log", "PNG"):
            assert any(expected in name or "theme" in name for name in reached), reached
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.press("g")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("ArrowDown")
        active = await page.locator(".grid").get_attribute("aria-activedescendant")
        assert active == "row-MSFT"
        await page.keyboard.press("Enter")
        await visit.until("location.hash === '#/MSFT'")
        await page.keyboard.press("Home")
        await page.keyboard.press("Enter")
        await visit.until("location.hash === '#/AAPL'")
        await page.keyboard.press("/")
        assert await page.evaluate("document.activeElement.id") == "filter"
        await page.keyboard.type("t?c")
        assert await page.locator("#filter").input_value() == "t?c"
        await page.keyboard.press("Escape")
        before = await page.evaluate("document.documentElement.dataset.theme")
        await page.keyboard.press("t")
        assert await page.evaluate("document.documentElement.dataset.theme") != before
        await page.reload()
        assert await page.evaluate("document.documentElement.dataset.theme") != before


@pytest.mark.parametrize("path", ["/", "/#/connect"])
@pytest.mark.parametrize("width", [320, 390, 768])
async def test_a_phone_needs_no_sideways_scroll(browser: Browser, path: str, width: int) -> None:
    size = {"width": width, "height": 780}
    async with live() as (address, feed), visiting(browser, address, viewport=size) as visit:
        await feed.price("AAPL", 1234567.125)
        await visit.go(path)
        await visit.until_connection("Live")
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= width
        # Nor is anything cut off at the right.
        beyond = await visit.page.evaluate(
            """(width) => [...document.querySelectorAll('button, a, input, .cell, dd')]
                 .filter((each) => each.getBoundingClientRect().right > width + 0.5
                   && each.closest('pre') === null)
                 .map((each) => each.outerHTML)""",
            width,
        )
        assert beyond == []
