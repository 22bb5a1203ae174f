"""Any mix of faults of an exchange and its link: each trade is sent once."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from connect.exchanges import source
from connect.exchanges.source import ExchangeSource
from tests.doubles.connecting import connecting
from tests.doubles.exchanges import KINDS, Exchange, run_exchange
from tests.doubles.session_server import run_session_server

MARKETS = ("BTC/USDT", "ETH/USDT")
STEPS = 40


async def do_something(exchange: Exchange, chance: Random) -> None:
    """Let trades happen, and something go wrong."""
    market = chance.choice(MARKETS)
    step = chance.choice(("trade", "trade", "burst", "cut", "close", "again", "limit", "miss"))
    # What is lost without a cut is noticed only where trades are numbered.
    if step == "miss" and exchange.name == "bitstamp":
        step = "cut"
    if step == "burst":
        for _ in range(chance.randrange(80)):
            await exchange.trade(market, "97000.5", "0.00012")
    elif step == "cut":
        exchange.cut()
    elif step == "close":
        await exchange.close_sockets(code=1012)
    elif step == "again" and exchange.tape[market]:
        await exchange.send(market, exchange.tape[market][-chance.randrange(1, 20) :])
    elif step == "limit":
        exchange.limited = chance.randrange(3)
    elif step == "miss":
        exchange.is_mute = True
        for _ in range(chance.randrange(20)):
            await exchange.trade(market, "97000.5", "0.00012")
        exchange.is_mute = False
    await exchange.trade(market, "97000.5", "0.00012")
    if chance.random() < 0.3:
        await exchange.subscribed(market)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["binance", "coinbase", "bitstamp"])
async def test_each_trade_is_sent_once(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr(source, "MAX_BACKOFF_S", 0.1)
    chance = Random(seed)
    exchange = KINDS[name](MARKETS, clock_offset_s=chance.uniform(-100, 50))
    exchange.resends = chance.choice((0, 50))
    make = partial(ExchangeSource, name, MARKETS)
    async with (
        run_exchange(exchange),
        run_session_server() as server,
        connecting(make, server, url=exchange.url) as run,
    ):
        for market in MARKETS:
            await exchange.subscribed(market)
            # Before the first trade, nothing is known to be missed.
            await exchange.trade(market, "97000", "1")
        await run.until_sent(2)
        for _ in range(STEPS):
            await do_something(exchange, chance)
        # A last connection, and a trade that shows what was missed before it.
        exchange.limited = 0
        for market in MARKETS:
            await exchange.subscribed(market)
            await exchange.trade(market, "97000", "1")
        await run.until(lambda: len(run.ticks) >= sum(map(len, exchange.tape.values())))
    for market in MARKETS:
        sent = run.ids(market.replace("/", "-"))
        assert sorted(sent) == [str(each.number) for each in exchange.tape[market]]
