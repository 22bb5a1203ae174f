"""``make run FEED=...``: a live market in place of the fake feed, here of a local exchange."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.acceptance.test_make_run import Run, started
from tests.doubles.exchanges import Binance, run_exchange
from tests.doubles.processes import open_http

MARKETS = ("BTC/USDT", "ETH/USDT")


async def state_of(http: httpx.AsyncClient, symbol: str, trades: int) -> dict[str, Any]:
    """Ask until the aggregate of a symbol has all trades."""
    while True:
        answer = await http.get(f"/api/v1/marketdata/{symbol}")
        state: dict[str, Any] = answer.json()
        if answer.status_code == 200 and int(state["trades"] or 0) >= trades:
            return state
        await asyncio.sleep(0.05)


async def test_the_trades_of_an_exchange_are_served_also_those_of_an_outage() -> None:
    exchange = Binance(MARKETS)
    async with run_exchange(exchange):
        run = Run(FEED=f"binance:{','.join(MARKETS)}", CONNECT_URL=exchange.url)
        async with started(run), asyncio.timeout(60):
            await run.wait_for_line("#/BTC-USDT")
            await exchange.subscribed("BTC/USDT")
            await exchange.trade("BTC/USDT", "97000", "0.5")
            await exchange.trade("BTC/USDT", "97010", "0.25")
            await exchange.trade("ETH/USDT", "3600", "2")
            async with open_http(run.ports["GATEWAY"]) as http:
                await state_of(http, "BTC-USDT", 2)
            exchange.cut()
            exchange.is_mute = True
            await exchange.trade("BTC/USDT", "96990.5", "0.125")
            await run.wait_for_line("connect    | binance filled: BTC-USDT 1 trades")
            exchange.is_mute = False
            await exchange.trade("BTC/USDT", "97005", "0.001")
            async with open_http(run.ports["GATEWAY"]) as http:
                state = await state_of(http, "BTC-USDT", 4)
                other = await state_of(http, "ETH-USDT", 1)
            assert [state[name] for name in ("open", "high", "low", "close")] == [
                97000,
                97010,
                96990.5,
                97005,
            ]
            assert state["volume"] == "0.876"
            assert (other["close"], other["volume"]) == (3600, "2")
            run.press_ctrl_c()
            assert await run.end() == 0
            assert any("binance ended: sent 5 trades, acked 5, rejected 0" in x for x in run.lines)


async def test_a_feed_that_is_not_written_well_ends_at_once() -> None:
    async with started(Run(FEED="binance")) as run, asyncio.timeout(60):
        assert await run.end() == 1
        assert "must be SOURCE:NAME,NAME" in run.lines[-1]
