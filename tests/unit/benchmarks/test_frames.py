"""The frames that benchmarks send, held against the protobuf library."""

from __future__ import annotations

import pytest

from benchmarks.frames import END, FrameWriter, Market
from marketdata.framing import encode_frame
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick

START_NS = 1_700_000_000 * NS_PER_S


@pytest.mark.parametrize("connections", [1, 3, 70])
def test_frames_are_those_of_the_library_and_the_totals_those_of_the_ticks(
    connections: int,
) -> None:
    market = Market(50, connections)
    sent = [market.opening(START_NS), market.ticks(2_000, START_NS, 1_000, 0.1)]
    trades: dict[str, int] = {}
    volumes: dict[str, int] = {}
    for ticks in (each for parts in sent for each in parts):
        expected = b""
        columns = (ticks.chosen, ticks.prices, ticks.volumes, ticks.times)
        for number, price, volume, time_ns in zip(*(c.tolist() for c in columns), strict=True):
            symbol = market.symbols[number]
            tick = Tick(symbol=symbol, price=price, volume=volume, exchange_timestamp=time_ns)
            expected += encode_frame(tick.SerializeToString())
            trades[symbol] = trades.get(symbol, 0) + 1
            volumes[symbol] = volumes.get(symbol, 0) + volume
        assert bytes(market.writer.write(ticks)) == expected
    assert [trades[s] for s in market.symbols] == market.totals.trades.tolist()
    assert [volumes[s] for s in market.symbols] == market.totals.volumes.tolist()


@pytest.mark.parametrize("has_ids", [False, True])
def test_frames_with_decimals_and_ids_are_those_of_the_library(*, has_ids: bool) -> None:
    market = Market(50, 1)
    market.writer = FrameWriter(market.symbols, decimals=8, has_ids=has_ids)
    next_id = 1
    for ticks in (*market.opening(START_NS), *market.ticks(2_000, START_NS, 1_000)):
        expected = b""
        columns = (ticks.chosen, ticks.prices, ticks.volumes, ticks.times)
        for number, price, volume, time_ns in zip(*(c.tolist() for c in columns), strict=True):
            symbol = market.symbols[number]
            tick = Tick(symbol=symbol, price=price, volume=volume, exchange_timestamp=time_ns)
            tick.volume_decimals = 8
            tick.trade_id = b"%010d" % next_id if has_ids else b""
            next_id += 1
            expected += encode_frame(tick.SerializeToString())
        assert bytes(market.writer.write(ticks)) == expected


def test_each_connection_has_symbols_of_its_own_and_one_end_per_phase() -> None:
    market = Market(10, 3)
    parts = market.ticks(300, START_NS, 100)
    own = [{market.symbols[number] for number in part.chosen[:-1]} for part in parts]
    assert set.union(*own) == set(market.symbols) - {END}
    assert sum(map(len, own)) == 10
    assert [market.symbols[part.chosen[-1]] for part in parts] == [END] * 3


def test_ticks_of_a_symbol_are_in_order_but_for_the_late_ones() -> None:
    (ticks,) = Market(10, 1).ticks(1_000, START_NS, 1_000)
    assert (ticks.times[1:] > ticks.times[:-1]).all()
    (ticks,) = Market(10, 1).ticks(1_000, START_NS, 1_000, 0.01)
    late = ticks.times < START_NS + (ticks.times - START_NS).clip(0)
    assert 0 < int(late.sum()) < 50
