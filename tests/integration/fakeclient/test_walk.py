"""The random walk, as a server sees it."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict

import pytest
from google.protobuf.message import DecodeError

from marketdata.errors import EmptyFrame
from marketdata.validation import RejectReason, TickRules
from marketdata.wire.market_data_pb2 import Tick
from tests.integration.fakeclient.recorder import fakeclient, recorder

FAST = ("--rate", "max")


Trade = tuple[str, float, int]


def trade_of(payload: bytes) -> Trade:
    tick = Tick.FromString(payload)
    return tick.symbol, tick.price, tick.volume


async def walk(*options: object) -> list[Trade]:
    async with recorder() as server:
        result = await fakeclient(*FAST, "--server", server.address, *options)
        assert (result.code, result.errors) == (0, "")
        assert result.sent == len(server.payloads)
        return [trade_of(payload) for payload in server.payloads]


async def test_the_same_seed_sends_the_same_ticks_also_when_they_are_encoded_ahead() -> None:
    first = await walk("--seed", 7, "--limit", 10_000)
    assert len(first) == 10_000
    assert await walk("--seed", 7, "--limit", 10_000) == first
    assert await walk("--seed", 7, "--encode-ahead", 10_000) == first
    assert await walk("--seed", 8, "--limit", 10_000) != first


async def test_ticks_encoded_ahead_are_sent_again_up_to_the_limit() -> None:
    sent = await walk("--encode-ahead", 6_000, "--limit", 15_000)
    assert sent == [*sent[:6_000], *sent[:6_000], *sent[:3_000]]


async def test_rate_and_duration_give_an_exact_total_in_small_groups_with_the_present_time() -> (
    None
):
    began_ns = time.time_ns()
    async with recorder() as server:
        result = await fakeclient("--rate", 1_000, "--duration", 2, "--server", server.address)
    times = [tick.exchange_timestamp for tick in server.ticks]
    assert result.code == 0
    assert len(times) == result.sent == 2_000
    assert 1.99 <= result.seconds <= 2.25
    assert began_ns < times[0] < times[-1] < time.time_ns()
    assert times == sorted(times)
    # 400 groups, if the machine lets us; far fewer than that would not look live.
    assert sum(b - a > 1_000_000 for a, b in itertools.pairwise(times)) > 100


async def test_a_duration_ends_an_unlimited_rate() -> None:
    async with recorder() as server:
        result = await fakeclient(*FAST, "--duration", 0.3, "--server", server.address)
    assert result.code == 0
    assert result.sent == len(server.payloads) > 1_000


async def test_messy_symbols_are_sent_as_a_careless_producer_writes_them() -> None:
    sent = await walk("--messy", "--symbols", "AAPL", "--limit", 3)
    assert [symbol for symbol, _, _ in sent] == [" aApL "] * 3


async def test_with_several_connections_every_symbol_keeps_its_order() -> None:
    alone = await walk("--symbols", 40, "--limit", 20_000)
    async with recorder() as server:
        result = await fakeclient(
            *(*FAST, "--symbols", 40, "--limit", 20_000, "--connections", 4),
            *("--server", server.address),
        )
    assert result.sent == 20_000
    assert len(server.connections) == 4
    # Were a symbol on two connections, it would be under two keys here.
    received: defaultdict[tuple[int, str], list[Trade]] = defaultdict(list)
    for number, connection in enumerate(server.connections):
        for trade in map(trade_of, connection.payloads):
            received[number, trade[0]].append(trade)
    expected: defaultdict[str, list[Trade]] = defaultdict(list)
    for trade in alone:
        expected[trade[0]].append(trade)
    assert {symbol: trades for (_, symbol), trades in received.items()} == expected
    assert len(received) == 40


@pytest.mark.parametrize("connections", [1, 3])
async def test_the_counts_of_bad_frames_are_exact(connections: int) -> None:
    async with recorder() as server:
        result = await fakeclient(
            *(*FAST, "--limit", 22_000, "--bad-fraction", 0.1, "--connections", connections),
            *("--server", server.address),
        )
    assert (result.code, result.errors) == (0, "")
    assert result.sent == 22_000
    rules = TickRules(timestamp_unit="auto", max_future_skew_s=60)
    now_ns = time.time_ns()
    seen: Counter[str | None] = Counter()
    for payload in server.payloads:
        try:
            seen[rules.normalize(Tick.FromString(payload), now_ns)] += 1
        except DecodeError:
            seen[RejectReason.MALFORMED] += 1
    closed = sum(isinstance(c.failure, EmptyFrame) for c in server.connections)
    assert seen == {
        None: 19_800,
        RejectReason.MALFORMED: 400,
        RejectReason.PRICE_NOT_FINITE: 400,
        RejectReason.PRICE_NOT_POSITIVE: 200,
        RejectReason.VOLUME_NOT_POSITIVE: 200,
        RejectReason.EMPTY_SYMBOL: 200,
        RejectReason.SYMBOL_TOO_LONG: 200,
        RejectReason.TIMESTAMP_IN_FUTURE: 200,
        RejectReason.TIMESTAMP_NOT_POSITIVE: 200,
    }
    assert closed == 200
    (bad,) = [line for line in result.lines if line.startswith("bad ")]
    assert bad == (
        "bad 2,200 of them: unparsable=200 nan_price=200 infinite_price=200 negative_price=200 "
        "zero_volume=200 empty_symbol=200 long_symbol=200 invalid_utf8=200 future_timestamp=200 "
        "zero_timestamp=200 empty_payload=200"
    )
    # Reconnecting after a length of zero is part of the plan and not worth a line.
    assert sum("connected" in line for line in result.lines) == 1
