"""Live trades through ccxt's own code, from exchanges that speak their documented messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connect.errors import SourceFailed
from connect.exchanges import source
from connect.exchanges.client import make_exchange
from connect.exchanges.profiles import Profile
from connect.exchanges.source import ExchangeSource
from connect.positions import save_position
from tests.doubles.connecting import Connecting, connecting
from tests.doubles.exchanges import KINDS, Binance, Exchange, run_exchange
from tests.doubles.session_server import SessionServer, run_session_server

MARKET = "BTC/USDT"
ALL = tuple(KINDS)
# Exchanges that number the trades of a market without gaps.
NUMBERED = ("binance", "coinbase", "kraken")
Start = Callable[..., AbstractAsyncContextManager[Connecting]]


@pytest.fixture
async def server() -> AsyncIterator[SessionServer]:
    async with run_session_server() as running:
        yield running


@pytest.fixture
def start(server: SessionServer) -> Start:
    """Return a function that connects markets of an exchange."""

    def start(
        exchange: Exchange, *markets: str, **settings: Any
    ) -> AbstractAsyncContextManager[Connecting]:
        make = partial(ExchangeSource, exchange.name, markets or (MARKET,))
        return connecting(make, server, url=exchange.url, **settings)

    return start


async def miss(exchange: Exchange, count: int, **trade: int) -> None:
    """Let trades happen of which the websocket says nothing."""
    exchange.is_mute = True
    for number in range(count):
        await exchange.trade(MARKET, "97001.5", f"0.{number + 1:08}", **trade)
    exchange.is_mute = False


def all_ids(exchange: Exchange) -> list[str]:
    return [str(each.number) for each in exchange.tape[MARKET]]


@pytest.mark.parametrize("name", ALL)
async def test_every_digit_of_size_price_and_time_arrives(name: str, start: Start) -> None:
    sizes = ["0.467", "27.00000000", "0.00000001", "123456789.12345678", "1000000", "0.1"]
    exchange = KINDS[name]()
    async with run_exchange(exchange), start(exchange) as run:
        await exchange.subscribed(MARKET)
        for size in sizes:
            await exchange.trade(MARKET, "97123.41", size, 1_790_000_000_123_456_000)
        await run.until_sent(len(sizes))
    assert run.sizes() == [Decimal(each) for each in sizes]
    assert [each.volume_decimals for each in run.ticks] == [3, 0, 8, 8, 0, 1]
    assert {each.price for each in run.ticks} == {97123.41}
    assert {each.symbol for each in run.ticks} == {"BTC-USDT"}
    # Binance has milliseconds.
    time = 1_790_000_000_123_000_000 if name == "binance" else 1_790_000_000_123_456_000
    assert {each.exchange_timestamp for each in run.ticks} == {time}
    assert run.ids() == all_ids(exchange)


@pytest.mark.parametrize("name", ALL)
async def test_trades_during_a_lost_connection_are_filled_in(name: str, start: Start) -> None:
    exchange = KINDS[name]()
    async with run_exchange(exchange), start(exchange, MARKET, "ETH-USDT") as run:
        await exchange.subscribed(MARKET)
        await exchange.trade(MARKET, "97000.1", "0.5")
        await run.until_sent(1)
        exchange.cut()
        await miss(exchange, 7)
        await exchange.subscribed(MARKET)
        await run.until_sent(8)
        await exchange.trade(MARKET, "97002", "0.25")
        await run.until_sent(9)
        await run.until_said("filled: BTC-USDT 7 trades")
    assert sorted(run.ids()) == all_ids(exchange)
    assert sum(run.sizes()) == Decimal("0.75000028")
    assert [line.split()[1] for line in run.lines[:6]] == [
        "connecting:",
        "live:",
        "lost:",
        "connecting:",
        "live:",
        "filling:",
    ]


@pytest.mark.parametrize("name", ALL)
async def test_trades_that_are_sent_again_are_sent_on_once(name: str, start: Start) -> None:
    exchange = KINDS[name]()
    exchange.resends = 50
    async with run_exchange(exchange), start(exchange) as run:
        await exchange.subscribed(MARKET)
        for _ in range(5):
            await exchange.trade(MARKET, "97000", "0.1")
        await exchange.send(MARKET, exchange.tape[MARKET][-3:])
        await run.until_sent(5)
        await exchange.close_sockets()
        await exchange.subscribed(MARKET)
        await exchange.trade(MARKET, "97000", "0.1")
        await run.until_sent(6)
    assert sorted(run.ids()) == all_ids(exchange)


@pytest.mark.parametrize("name", NUMBERED)
async def test_a_jump_in_the_numbers_is_a_gap_without_any_cut(name: str, start: Start) -> None:
    exchange = KINDS[name]()
    async with run_exchange(exchange), start(exchange) as run:
        await exchange.subscribed(MARKET)
        await exchange.trade(MARKET, "97000", "0.1")
        await miss(exchange, 3)
        await exchange.trade(MARKET, "97000", "0.1")
        await run.until_said("filled: BTC-USDT 3 trades")
        await run.until_sent(5)
    assert sorted(run.ids()) == all_ids(exchange)
    assert not run.said("lost")


@pytest.mark.parametrize("offset_s", [-600, 45])
@pytest.mark.parametrize("name", ["binance", "coinbase", "bitstamp"])
async def test_gaps_are_filled_by_the_clock_of_the_exchange(
    name: str, offset_s: float, start: Start
) -> None:
    exchange = KINDS[name](clock_offset_s=offset_s)
    async with run_exchange(exchange), start(exchange) as run:
        await exchange.subscribed(MARKET)
        await exchange.trade(MARKET, "97000", "0.1")
        await run.until_sent(1)
        exchange.cut()
        await miss(exchange, 4)
        await run.until_sent(5)
    assert sorted(run.ids()) == all_ids(exchange)


@pytest.mark.parametrize(
    ("name", "key"), [("binance", ""), ("binance", "a-key"), ("coinbase", ""), ("kraken", "")]
)
async def test_a_gap_of_several_pages_is_filled(name: str, key: str, start: Start) -> None:
    exchange = KINDS[name]()
    if isinstance(exchange, Binance):
        exchange.needs_key = bool(key)
    async with run_exchange(exchange), start(exchange, api_key=key) as run:
        await exchange.subscribed(MARKET)
        first = await exchange.trade(MARKET, "97000", "0.1", 1_790_000_000 * 10**9)
        await run.until_sent(1)
        exchange.cut()
        exchange.is_mute = True
        for number in range(2_500):
            await exchange.trade(MARKET, "97001", "0.001", first.ts_ns + number * 7_000_000)
        exchange.is_mute = False
        await run.until_said("filled: BTC-USDT 2500 trades")
        await run.until_sent(2_501)
    assert sorted(run.ids()) == all_ids(exchange)
    assert not run.said("missing")


async def test_what_the_exchange_gives_no_more_is_said(start: Start) -> None:
    exchange = KINDS["binance"]()
    exchange.kept = 3
    async with run_exchange(exchange), start(exchange) as run:
        await exchange.subscribed(MARKET)
        await exchange.trade(MARKET, "97000", "0.1")
        await run.until_sent(1)
        exchange.cut()
        await miss(exchange, 8)
        await run.until_said("filled: BTC-USDT 3 trades, 5 are missing")


async def test_a_gap_waits_while_the_exchange_limits_requests(start: Start) -> None:
    exchange = KINDS["binance"]()
    async with run_exchange(exchange), start(exchange) as run:
        await exchange.subscribed(MARKET)
        await exchange.trade(MARKET, "97000", "0.1")
        await run.until_sent(1)
        exchange.limited = 2
        exchange.cut()
        await miss(exchange, 4)
        await run.until_said("filling waits", times=2)
        await run.until_sent(5)
    assert sorted(run.ids()) == all_ids(exchange)


async def test_trades_that_ingest_does_not_take_are_fetched_later(start: Start) -> None:
    exchange = KINDS["coinbase"]()
    async with run_exchange(exchange), start(exchange, max_waiting=5) as run:
        await exchange.subscribed(MARKET)
        await exchange.trade(MARKET, "97000", "0.1")
        await run.until_sent(1)
        await miss(exchange, 20)
        # In one message, so that nothing is sent on between two of them.
        await exchange.send(MARKET, exchange.tape[MARKET][1:])
        await run.until_said("lost: 5 trades wait for ingest")
        await run.until_sent(21)
    assert sorted(run.ids()) == all_ids(exchange)


async def test_symbols_and_ids_are_named_as_the_user_wants(start: Start) -> None:
    exchange = KINDS["binance"]()
    options = {"symbol_style": "exchange", "symbol_prefix": "BN:", "trade_id_prefix": "bn-"}
    async with run_exchange(exchange), start(exchange, "ethusdt", **options) as run:
        await exchange.subscribed("ETH/USDT")
        made = await exchange.trade("ETH/USDT", "3600", "1")
        await run.until_sent(1)
    assert run.ticks[0].symbol == "BN:ETHUSDT"
    assert run.ticks[0].trade_id == f"bn-{made.number}".encode()


async def test_a_market_that_does_not_exist_is_named_with_its_neighbours(start: Start) -> None:
    exchange = KINDS["kraken"]()
    with pytest.raises(SourceFailed, match="no market BTC-USDTT, it has BTC/USDT"):
        async with run_exchange(exchange), start(exchange, "BTC-USDTT") as run:
            await asyncio.wait([run.running])


def test_an_exchange_that_does_not_exist_is_named_with_its_neighbours() -> None:
    with pytest.raises(SourceFailed, match=r"'krakn'\. Is it kraken"):
        make_exchange("krakn", Profile(), "", "")


@pytest.mark.parametrize("name", ["binance", "bitstamp"])
async def test_a_restart_fills_what_it_missed(
    name: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "POSITION_EVERY_S", 0.02)
    position = tmp_path / "made" / "connect.position"
    loop, saved = asyncio.get_running_loop(), asyncio.Event()

    def save(path: Path, newest: dict[str, Any]) -> None:
        save_position(path, newest)
        loop.call_soon_threadsafe(saved.set)

    monkeypatch.setattr(source, "save_position", save)
    exchange = KINDS[name]()
    async with run_exchange(exchange):
        async with start(exchange, position=str(position)) as run:
            await exchange.subscribed(MARKET)
            await exchange.trade(MARKET, "97000", "0.1")
            await run.until_sent(1)
            await saved.wait()
        await miss(exchange, 4)
        async with start(exchange, position=str(position)) as run:
            await run.until_sent(5)
    assert sorted(run.ids()) == all_ids(exchange)


async def test_a_position_that_cannot_be_read_ends_it(start: Start, tmp_path: Path) -> None:
    position = tmp_path / "connect.position"
    position.write_text('{"exchange":"binance","markets":{"BTC/USDT":[1]}}')
    with pytest.raises(SourceFailed, match="cannot read the position"):
        async with start(KINDS["binance"](), position=str(position)):
            pass


async def test_an_exchange_that_refuses_old_trades_leaves_a_gap_that_is_said(start: Start) -> None:
    exchange = Binance()
    exchange.needs_key = True
    async with run_exchange(exchange), start(exchange) as run:
        await exchange.subscribed(MARKET)
        await exchange.trade(MARKET, "97000", "0.1")
        await run.until_sent(1)
        exchange.cut()
        await miss(exchange, 1_005)
        await run.until_said("filling refused: BTC-USDT after trade 4000001: AuthenticationError")
        await run.until_said("filled: BTC-USDT 1000 trades, 5 are missing")
        await exchange.subscribed(MARKET)
        await exchange.trade(MARKET, "97000", "0.1")
        await run.until_sent(1_002)
