"""Decimals, ids, excludes, cancels and other prices go from every kind of producer to the state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal

import numpy as np
import pytest

from aggregator.app import Aggregator
from marketdata.decimals import plain_decimal
from marketdata.producer import EncodedTicks, Producer
from marketdata.producer.encoding import RowEncoder, split_records
from marketdata.wire.market_data_pb2 import Exclude, Tick, TickAction, TickBatch
from tests.doubles.pipeline import (
    TIMEOUT_S,
    make_tick,
    open_stub,
    run_aggregator,
    run_ingest,
    send,
    wait_for_trades,
)

CANCEL = TickAction.TICK_ACTION_CANCEL
RULE = "*=positive,CL*=any"
Send = Callable[[Aggregator, list[bytes]], Awaitable[dict[str, int]]]


async def send_frames(aggregator: Aggregator, payloads: list[bytes]) -> dict[str, int]:
    async with run_ingest(f"127.0.0.1:{aggregator.port}", price_rule=RULE) as ingest:
        await send(ingest.listener.port, map(Tick.FromString, payloads))
        return dict(ingest.rejected.totals)


async def send_in_a_session(aggregator: Aggregator, payloads: list[bytes]) -> dict[str, int]:
    rejected: dict[str, int] = {}

    def count(_sequence: int, reason: str, _tick: object) -> None:
        rejected[reason] = rejected.get(reason, 0) + 1

    ticks = list(map(Tick.FromString, payloads))
    async with run_ingest(f"127.0.0.1:{aggregator.port}", price_rule=RULE) as ingest:
        address = f"127.0.0.1:{ingest.listener.port}"
        async with Producer(address, producer_id="feed", on_reject=count) as producer:
            for tick in ticks:
                data = TickBatch(ticks=[tick]).SerializeToString()
                await producer.send_encoded(EncodedTicks(data, 1))
    return rejected


async def send_over_grpc(aggregator: Aggregator, payloads: list[bytes]) -> dict[str, int]:
    async def ticks() -> AsyncIterator[Tick]:
        for payload in payloads:
            yield Tick.FromString(payload)

    async with open_stub(aggregator.port) as stub:
        ack = await stub.StreamTicks(ticks())
    _, _, reasons = ack.message.partition(": ")
    pairs = (each.split(" ") for each in reasons.split(", ") if each)
    return {reason: int(count) for count, reason in pairs}


@pytest.mark.parametrize("send_ticks", [send_frames, send_in_a_session, send_over_grpc])
async def test_every_kind_of_producer_sends_sizes_ids_excludes_and_amendments(
    send_ticks: Send,
) -> None:
    now_ns = time.time_ns()
    encoder = RowEncoder()
    encode, exclude = encoder.encode, Exclude
    records: list[bytes | Tick] = [
        encode("BTC-USDT", 100.0, Decimal("0.467"), now_ns, trade_id=1),
        encode("BTC-USDT", 101.0, (2, 3), now_ns + 1, trade_id=2),
        # Comes again.
        encode("BTC-USDT", 101.0, (2, 3), now_ns + 1, trade_id=2),
        encode("BTC-USDT", 900.0, 7, now_ns + 2, trade_id=3, excludes=exclude.EXCLUDE_HIGH_LOW),
        encode("BTC-USDT", 500.0, 5, now_ns + 3, trade_id=4),
        encoder.encode_cancel("BTC-USDT", 4, now_ns + 3),
        encoder.encode_correct("BTC-USDT", 901.0, 1, now_ns + 2, trade_id=3, excludes=2),
        encode("CLZ4", -37.63, 2, now_ns),
        encode("CLZ4", 0.0, (0, 0), now_ns + 1, excludes=exclude.EXCLUDE_VOLUME),
        # Each with its reason.
        encode("BTC-USDT", -1.0, 1, now_ns),
        Tick(symbol="A", price=1, volume=1, exchange_timestamp=now_ns, volume_decimals=19),
        Tick(symbol="A", price=1, volume=1, exchange_timestamp=now_ns, trade_id=b"x" * 65),
        Tick(symbol="A", price=1, volume=1, exchange_timestamp=now_ns, excludes=16),
        Tick(symbol="A", exchange_timestamp=now_ns, action=CANCEL),
        encode("END", 1.0, 1, now_ns),
    ]
    payloads = [
        each.SerializeToString() if isinstance(each, Tick) else split_records(each)[0]
        for each in records
    ]
    async with run_aggregator(price_rule=RULE) as aggregator, asyncio.timeout(TIMEOUT_S):
        rejected = await send_ticks(aggregator, payloads)
        await wait_for_trades(aggregator, "END", 1)
        state = aggregator.market.book.state("BTC-USDT")
        assert (state.open, state.high, state.low, state.close) == (100.0, 101.0, 100.0, 901.0)
        assert plain_decimal(state.volume, state.volume_decimals) == "1.469"
        assert state.trades == 3
        oil = aggregator.market.book.state("CLZ4")
        assert (oil.open, oil.high, oil.low, oil.close) == (-37.63, 0.0, -37.63, 0.0)
        assert (oil.volume, oil.trades) == (2, 2)
    assert rejected == {
        "price_not_positive": 1,
        "volume_decimals_too_large": 1,
        "trade_id_too_long": 1,
        "invalid_excludes": 1,
        "missing_trade_id": 1,
    }


async def test_columns_with_decimals_and_ids_count_once() -> None:
    count, now_ns = 20_000, time.time_ns()
    volumes = np.arange(1, count + 1)
    ids = [f"t{number}" for number in range(count)]
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
        Producer(f"127.0.0.1:{ingest.listener.port}", producer_id="feed") as producer,
    ):
        for _ in range(2):
            await producer.send_columns(
                *("ETH-USDT", np.full(count, 10.0), volumes, now_ns + volumes),
                volume_decimals=8,
                trade_ids=ids,
            )
        await producer.flush()
        state = aggregator.market.book.state("ETH-USDT")
        total = int(volumes.sum())
        assert (state.volume, state.volume_decimals, state.trades) == (total, 8, count)


async def test_a_plain_tick_after_marked_ones_has_none_of_their_marks() -> None:
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
    ):
        marked = make_tick("AAPL", 10, 5)
        marked.trade_id, marked.excludes = b"1", Exclude.EXCLUDE_VOLUME
        await send(ingest.listener.port, [marked, make_tick("AAPL", 11, 6), make_tick("AAPL", 11)])
        assert (await wait_for_trades(aggregator, "AAPL", 3)).volume == 7
