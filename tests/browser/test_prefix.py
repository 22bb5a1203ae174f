"""The pages under a path prefix, through nginx as docs/proxy.md says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser.visits import Visit, visiting
from tests.integration.gateway.live import feeding, gateway_to, until_status
from tests.integration.gateway.test_proxy import SETTINGS, proxied

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def visits(browser: Browser, folder: Path) -> AsyncIterator[Visit]:
    """Give a visit to a gateway under a prefix."""
    async with (
        feeding() as (aggregator, feed),
        gateway_to(aggregator, **SETTINGS) as gateway,
        proxied("nginx prefix", gateway, folder) as proxy,
        visiting(browser, f"127.0.0.1:{proxy.port}") as visit,
    ):
        await until_status(gateway, "live")
        await feed.price("AAPL", 150.25)
        yield visit


async def check(visit: Visit) -> None:
    """Check that nothing was forbidden, and that nothing was asked for outside of the prefix."""
    assert await visit.violations() == []
    assert visit.problems == []
    assert visit.elsewhere() == []
    inside = f"{visit.address}/market/"
    assert [url for url in visit.requests if url.startswith("http") and inside not in url] == []
    assert [url for url in visit.requests if url.startswith("ws") and inside not in url] == []


async def test_the_dashboard_is_live_under_a_prefix(browser: Browser, tmp_path: Path) -> None:
    async for visit in visits(browser, tmp_path):
        await visit.go("/market/")
        await visit.until_row("AAPL", "last", "150.25")
        await visit.page.get_by_role("link", name="Connect").click()
        texts = await visit.page.locator("code").all_inner_texts()
        assert f"curl 'http://{visit.address}/market/api/v1/marketdata/AAPL'" in texts
        for name, sign in (
            ("REST", "HTTP 200"),
            ("Server-sent events", '"close":150.25'),
            ("WebSocket", '"close":150.25'),
            ("STOMP", '"close":150.25'),
            ("GraphQL", '"close":150.25'),
        ):
            await visit.page.get_by_role("button", name=f"Run it here: {name}", exact=True).click()
            output = visit.page.get_by_label(f"What {name} answers", exact=True)
            await output.filter(has_text=sign).wait_for()
        await check(visit)


@pytest.mark.parametrize("link", ["Together", "GraphiQL", "API docs"])
async def test_the_other_pages_are_a_click_away(
    browser: Browser, tmp_path: Path, link: str
) -> None:
    async for visit in visits(browser, tmp_path):
        await visit.go("/market/")
        await visit.page.get_by_role("navigation").get_by_role("link", name=link).click()
        address = {"Together": "collab", "GraphiQL": "graphiql", "API docs": "docs"}[link]
        await visit.page.wait_for_url(f"**/market/{address}*")
        if link == "API docs":
            # Swagger UI has read the document, and asks under the prefix.
            await visit.page.get_by_text("The states of symbols, live").wait_for()
            assert await visit.page.locator(".servers option").all_inner_texts() == ["/market"]
        elif link == "GraphiQL":
            await visit.page.get_by_role("button", name="Execute query").wait_for()
        else:
            await visit.page.locator("main, video, button").first.wait_for()
        await check(visit)
