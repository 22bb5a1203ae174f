"""``make screenshots``: pictures of the dashboard at work, for the documentation.

The market is the fakeclient's; the history of the chart is made up to end at its price, because a
market that has just begun has none.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser

from tests.browser.bars import MINUTE_MS, Bars
from tests.browser.visits import Visit, running_browser, visiting
from tests.doubles.processes import run_backend, run_gateway
from tests.integration.fakeclient.recorder import started

SYMBOL = "AAPL"
MINUTES = 400
# Each update passes through Playwright, because the bars are made up there.
RATE = 250
BEGAN = time.monotonic()
DESK = {"width": 1440, "height": 860}
PHONE = {"width": 390, "height": 844}
# Time for sparklines and the histogram to say something.
WARM_UP_S = 20.0
SHOTS: dict[str, dict[str, Any]] = {
    "dark": {"color_scheme": "dark", "viewport": DESK},
    "light": {"color_scheme": "light", "viewport": DESK},
    "phone": {"color_scheme": "dark", "viewport": PHONE},
}


async def main(folder: Path) -> None:
    """Take the pictures."""
    async with (
        running_browser() as browser,
        run_backend() as (aggregator, aggregator_port, _, ingest_port),
        run_gateway(aggregator_port) as (_, http),
        started(
            *("--symbols", 500, "--rate", RATE, "--server", f"127.0.0.1:{ingest_port}"),
        ),
    ):
        async with visiting(browser, http.base_url.netloc.decode()) as visit:
            await visit.go()
            await visit.until(f"document.querySelector('[data-symbol={SYMBOL}]')?.dataset.sequence")
        for name, settings in SHOTS.items():
            await take(browser, http, folder / f"{name}.png", settings)
        await take(browser, http, folder / "stale.png", SHOTS["dark"], kill=aggregator)


async def take(
    browser: Browser,
    http: httpx.AsyncClient,
    file: Path,
    settings: dict[str, Any],
    kill: Any = None,
) -> None:
    """Take one picture; with ``kill`` of a page whose aggregator has gone."""
    async with visiting(browser, http.base_url.netloc.decode(), **settings) as visit:
        close = (await http.get(f"/api/v1/marketdata/{SYMBOL}")).json()["close"]
        bars = made_up(close)
        await bars.serve(visit.page)
        await visit.go()
        await follow(visit, bars, http)
        if kill is not None:
            await kill.stop(signal.SIGKILL)
            await visit.until("document.documentElement.dataset.market === 'stale'")
            bars.status["aggregator"] = {"status": "UNAVAILABLE"}
            bars.status["gateway"]["breaker"] = "open"
            await asyncio.sleep(5)
        picture = await visit.page.screenshot(path=file, timeout=120_000)
        print(f"{file}: {len(picture) // 1024} KB")


def made_up(close: float) -> Bars:
    """Return the bars of a walk that ends at ``close``."""
    chance = random.Random(7)
    bars = Bars(MINUTES, int(time.time() * 1000) // MINUTE_MS * MINUTE_MS - MINUTES * MINUTE_MS)
    for bar in reversed(bars.bars):
        opening = round(close * (1 + chance.gauss(0, 0.0006)), 2)
        reach = abs(chance.gauss(0, 0.0004)) * close
        bar["open"], bar["close"] = opening, close
        bar["high"] = round(max(opening, close) + reach, 2)
        bar["low"] = round(min(opening, close) - reach, 2)
        bar["vwap"] = round((opening + close + bar["high"] + bar["low"]) / 4, 4)
        bar["volume"] = str(int(20_000 * (1 + 4 * reach / close / 0.0004 + chance.random())))
        close = opening
    bars.status["aggregator"].update(symbols=500, rejected={"late": "12"})
    bars.status["aggregator"]["feeds"][0].update(producers=1, rejected={"bad_price": "31"})
    late = bars.bars[-40]
    late.update(state="revised", revision=1)
    return bars


async def follow(visit: Visit, bars: Bars, http: httpx.AsyncClient) -> None:
    """Let the open bar follow the market for a while."""
    until = time.monotonic() + WARM_UP_S
    first: float | None = None
    high, low = 0.0, float("inf")
    while time.monotonic() < until:
        now = (await http.get(f"/api/v1/marketdata/{SYMBOL}")).json()["close"]
        first = first or now
        high, low = max(high, now), min(low, now)
        bars.status["aggregator"]["accepted"] = str(int((time.monotonic() - BEGAN) * RATE))
        prices = {"open": first, "high": high, "low": low, "close": now, "vwap": (high + low) / 2}
        bars.publish(MINUTES, state="partial", complete=False, volume="31250", **prices)
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
