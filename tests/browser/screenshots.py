"""``make screenshots``: pictures of the dashboard at work, for the documentation.

All that is on them went through the services: the hours before are trades that are replayed, then
the fakeclient's market goes on from there, and somebody sends a few ticks that are refused.
"""

from __future__ import annotations

import asyncio
import csv
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
from playwright.async_api import Browser

from fakeclient.walk import KNOWN_SYMBOLS, RandomWalk, choose_symbols
from tests.browser.visits import running_browser, visiting
from tests.doubles.pipeline import make_tick, send
from tests.doubles.processes import Service, run_backend, run_gateway
from tests.integration.fakeclient.recorder import fakeclient, started

SYMBOL = "AAPL"
SYMBOLS = choose_symbols("500")
# What the live market begins with depends on it.
SEED = 1
# Of each symbol one trade a second.
RATE = 500
MINUTES = 400
SPEED = 1500
MINUTE_NS = 60 * 10**9
# Trades of a minute: of the symbol whose chart is shown, and of others that people know. The rest
# begins when the live market does: a store takes its time for the bars of 500 symbols.
BUSY, KNOWN = 60, 3
# A trade of this minute before the last comes so many trades of its symbol late.
LATE_MINUTE, LATE_TRADES = 40, 3 * BUSY
DESKTOP = {"width": 1440, "height": 860}
PHONE = {"width": 390, "height": 844}
# Time for sparklines and the histogram to say something.
WARM_UP_S = 20.0
SHOTS: dict[str, dict[str, Any]] = {
    "dark": {"color_scheme": "dark", "viewport": DESKTOP},
    "light": {"color_scheme": "light", "viewport": DESKTOP},
    "phone": {"color_scheme": "dark", "viewport": PHONE},
}

Row = tuple[str, float, int, int]


async def main(folder: Path) -> None:
    """Take the pictures."""
    with tempfile.TemporaryDirectory() as data:
        store = f"sqlite:///{data}/bars.db"
        async with (
            running_browser() as browser,
            run_backend(AGGREGATOR_STORE=store) as (aggregator, port, _, ingest_port),
            run_gateway(port) as (_, http),
        ):
            server = f"127.0.0.1:{ingest_port}"
            await replay_hours(Path(data) / "hours.csv", server)
            async with started(
                *("--symbols", len(SYMBOLS), "--seed", SEED, "--rate", RATE, "--server", server)
            ):
                await send_bad(ingest_port)
                for name, settings in SHOTS.items():
                    await take(browser, http, folder / f"{name}.png", settings)
                await take(browser, http, folder / "stale.png", SHOTS["dark"], kill=aggregator)


async def replay_hours(path: Path, server: str) -> None:
    """Let the market have been there for some hours."""
    with path.open("w", newline="") as file:
        header = ("symbol", "price", "volume", "exchange_timestamp")
        csv.writer(file).writerows([header, *hours(time.time_ns())])
    # As it comes near the present it has to go on from batch to batch, not to leap: only then is it
    # known that nothing is missing in between.
    result = await fakeclient("replay", path, "--server", server, "--speed", SPEED)
    assert result.code == 0, result.errors


def hours(until_ns: int) -> list[Row]:
    """Return trades that end then, at the prices with which the live market begins."""
    chance = Random(SEED)
    firsts = {
        symbol: price
        for symbol, price, _, _ in reversed(RandomWalk(SYMBOLS, Random(SEED)).take(20_000, 1))
    }
    # By the time of arrival, which for one trade is not its own.
    arrivals: list[tuple[int, Row]] = []
    for symbol in KNOWN_SYMBOLS:
        a_minute = BUSY if symbol == SYMBOL else KNOWN
        rows = list(trades_before(until_ns, symbol, firsts[symbol], a_minute, chance))
        arrivals += [(row[3], row) for row in rows]
        if symbol == SYMBOL:
            at = LATE_MINUTE * BUSY
            late = symbol, rows[at][1], 400, rows[at][3]
            arrivals.append((rows[at - LATE_TRADES][3], late))
    return [row for _, row in sorted(arrivals)]


def trades_before(
    until_ns: int, symbol: str, price: float, a_minute: int, chance: Random
) -> Iterator[Row]:
    """Walk back from the last trade to the first; some minutes are livelier than others."""
    step = 0.0015 / a_minute**0.5
    ts_ns, minute, pace = until_ns, 0, 1.0
    while minute < MINUTES:
        ts_ns -= int(MINUTE_NS / a_minute / pace * chance.uniform(0.5, 1.5))
        yield symbol, round(price, 2), 1 + int(chance.random() * 500), ts_ns
        price *= 1 + chance.gauss(0, step)
        if (until_ns - ts_ns) // MINUTE_NS != minute:
            minute = (until_ns - ts_ns) // MINUTE_NS
            pace = chance.lognormvariate(0, 0.4)


async def send_bad(ingest_port: int) -> None:
    """Send ticks that are refused."""
    ahead_ns = time.time_ns() + 3600 * 10**9
    await send(ingest_port, [make_tick(SYMBOL, price=-1.0)] * 31)
    await send(ingest_port, [make_tick(SYMBOL, ts_ns=ahead_ns)] * 12)


async def take(
    browser: Browser,
    http: httpx.AsyncClient,
    file: Path,
    settings: dict[str, Any],
    kill: Service | None = None,
) -> None:
    """Take one picture; with ``kill`` of a page whose aggregator has gone."""
    async with visiting(browser, http.base_url.netloc.decode(), **settings) as visit:
        await visit.go()
        await visit.until(f"document.querySelector('[data-symbol={SYMBOL}]')?.dataset.sequence")
        await visit.until("document.querySelector('.legend') !== null")
        await asyncio.sleep(WARM_UP_S)
        if kill is not None:
            await kill.stop(signal.SIGKILL)
            await visit.until("document.documentElement.dataset.market === 'stale'")
            # Others ask on, until the breaker opens; the page hears of that when it asks next.
            while (await status(http))["gateway"]["breaker"] != "open":
                await http.get(f"/api/v1/marketdata/{SYMBOL}")
            await asyncio.sleep(5)
        picture = await visit.page.screenshot(path=file, timeout=120_000)
        print(f"{file}: {len(picture) // 1024} KB")


async def status(http: httpx.AsyncClient) -> dict[str, Any]:
    """Return what the gateway says of everything."""
    found: dict[str, Any] = (await http.get("/api/v1/status")).json()
    return found


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
