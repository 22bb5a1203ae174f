"""A person's browser: Debian's Chromium, which asks nobody for anything on its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from tests.conformance.node_tools import need_chromium

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--no-proxy-server",
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,"
    "LocalNetworkAccessChecksWebRTC,WebRtcHideLocalIpsWithMdns",
)
TIMEOUT_MS = 60_000

# Before any script of the page: what its policy forbids is kept where a test finds it.
_KEEP_VIOLATIONS = """
    window.violations = [];
    addEventListener('securitypolicyviolation', (event) =>
      window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


class Visit:
    """One page, what it asked for, and what went wrong in it.

    ::

        async with visiting(browser, address) as visit:
            await visit.until("document.title === 'Market data'")

    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.requests: list[str] = []
        self.problems: list[str] = []
        # Also those of workers.
        page.context.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    async def go(self, path: str = "/") -> None:
        """Open ``path`` of the gateway."""
        await self.page.goto(f"http://{self.address}{path}")

    async def until(self, condition: str, argument: Any = None) -> None:
        """Wait until ``condition``, JavaScript that may name ``argument``, is true in the page."""
        # Playwright's own wait evaluates text in the page, which its policy forbids.
        async with asyncio.timeout(TIMEOUT_MS / 1000):
            await self.page.evaluate(
                f"""(argument) => new Promise((resolve) => {{
                      const look = () => ({condition}) ? resolve() : requestAnimationFrame(look);
                      look();
                    }})""",
                argument,
            )

    async def row(self, symbol: str) -> dict[str, str]:
        """Return the texts of a row of the watchlist, and its sequence."""
        cells: dict[str, str] = await self.page.evaluate(
            """(symbol) => {
                 const row = document.querySelector(`[data-symbol="${symbol}"]`);
                 const cells = [...row.children].map((cell) => [cell.classList[1], cell.innerText]);
                 return { ...Object.fromEntries(cells), sequence: row.dataset.sequence };
               }""",
            symbol,
        )
        return cells

    async def until_row(self, symbol: str, column: str, text: str) -> None:
        """Wait until a cell of the watchlist says ``text``."""
        await self.page.locator(f'[data-symbol="{symbol}"] .{column}', has_text=text).wait_for()

    async def until_connection(self, title: str) -> None:
        """Wait until the page says so of its connection."""
        await self.page.locator(f'[data-connection="{title}"]').wait_for()

    async def violations(self) -> list[str]:
        """Return what the Content-Security-Policy had to forbid."""
        found: list[str] = await self.page.evaluate("window.violations")
        return found

    def elsewhere(self) -> list[str]:
        """Return the requests that left the gateway."""
        ours = (f"http://{self.address}/", f"ws://{self.address}/", "data:", "blob:")
        return [url for url in self.requests if not url.startswith(ours)]

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.text} {message.location['url']}")


@contextlib.asynccontextmanager
async def running_browser(*flags: str) -> AsyncIterator[Browser]:
    """Run Chromium for the time of the context."""
    chromium = need_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def visiting(browser: Browser, address: str, **settings: Any) -> AsyncIterator[Visit]:
    """Let a person with settings of their own come to ``address``; they open nothing yet."""
    given = {"viewport": {"width": 1440, "height": 860}, "reduced_motion": "reduce", **settings}
    context = await browser.new_context(**given)
    context.set_default_timeout(TIMEOUT_MS)
    try:
        await context.add_init_script(_KEEP_VIOLATIONS)
        yield Visit(await context.new_page(), address)
    finally:
        await context.close()
