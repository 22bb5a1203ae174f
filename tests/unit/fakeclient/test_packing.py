"""Packing: the frames hold the ticks, each symbol stays on its connection."""

from __future__ import annotations

from random import Random

import pytest

from fakeclient.bad import BadKind, BadMix
from fakeclient.packing import Packer, Parcel
from fakeclient.ticks import Row
from fakeclient.walk import RandomWalk, choose_symbols, messy_spelling
from marketdata.errors import EmptyFrame
from marketdata.files.trades import Trade
from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.frame_decoder import FrameDecoder

SYMBOLS = choose_symbols("50")
ROWS = RandomWalk(SYMBOLS, Random(1)).take(2_000, 1)


def rows_of(parcels: list[Parcel]) -> list[Row]:
    payloads = FrameDecoder().receive_data(b"".join(parcel.data for parcel in parcels))
    ticks = map(Tick.FromString, payloads)
    return [(t.symbol, t.price, t.volume, t.exchange_timestamp) for t in ticks]


def test_the_frames_hold_the_ticks_in_order() -> None:
    (lane,) = Packer().pack(ROWS)
    assert rows_of(lane) == ROWS
    assert [parcel.ticks for parcel in lane] == [2_000]


def test_nothing_gives_no_parcel() -> None:
    assert Packer(2).pack([]) == [[], []]


def test_each_symbol_stays_on_one_connection_in_order() -> None:
    packer = Packer(4)
    first, second = packer.pack(ROWS[:1_000]), packer.pack(ROWS[1_000:])
    received = [rows_of(a + b) for a, b in zip(first, second, strict=True)]
    assert all(received)
    for symbol in SYMBOLS:
        sent = [row for row in ROWS if row[0] == symbol]
        assert [
            lane for lane in ([r for r in rows if r[0] == symbol] for rows in received) if lane
        ] == [sent]


def test_every_spelling_of_a_symbol_takes_the_same_connection() -> None:
    for symbol in SYMBOLS:
        rows = [(spelling, 1.0, 1, 1) for spelling in (symbol, messy_spelling(symbol))]
        assert sum(bool(lane) for lane in Packer(8).pack(rows)) == 1


def test_without_bad_frames_both_ways_to_pack_give_the_same_bytes() -> None:
    assert Packer(3, BadMix(0)).pack(ROWS) == Packer(3).pack(ROWS)


@pytest.mark.parametrize("bad_mix", [None, BadMix(0)])
def test_ticks_may_have_decimals_and_ids_of_their_own(bad_mix: BadMix | None) -> None:
    (lane,) = Packer(1, bad_mix, decimals=3, has_ids=True).pack(ROWS)
    assert rows_of(lane) == ROWS
    payloads = FrameDecoder().receive_data(b"".join(parcel.data for parcel in lane))
    ticks = list(map(Tick.FromString, payloads))
    assert {tick.volume_decimals for tick in ticks} == {3}
    assert len({tick.trade_id for tick in ticks}) == len(ROWS)


def test_an_empty_payload_ends_its_parcel_and_nothing_follows_it() -> None:
    (lane,) = Packer(1, BadMix(0.1)).pack(ROWS)
    assert sum(parcel.ticks for parcel in lane) == len(ROWS)
    assert sum(sum(parcel.bad.values()) for parcel in lane) == 200
    # The 11th, 22nd, ... of 200 bad frames; the rest follows in a last parcel.
    assert [parcel.closes for parcel in lane] == [True] * 18 + [False]
    for parcel in lane:
        decoder = FrameDecoder()
        frames = decoder.receive_data(parcel.data)
        if parcel.closes:
            assert isinstance(decoder.failure, EmptyFrame)
            assert parcel.data.endswith(b"\x00" * 4)
            assert parcel.bad[BadKind.EMPTY_PAYLOAD] == 1
            assert len(frames) == parcel.ticks - 1
        else:
            assert decoder.failure is None
            assert len(frames) == parcel.ticks


def test_the_trades_of_a_file_keep_decimals_id_and_excludes() -> None:
    trades: list[Trade] = [("BTC", 65000.1, 467, 1_700_000_000, 3, b"1001", 0)]
    trades.append(("SPX", 5900.5, 0, 1_700_000_001, 0, b"", 8))
    (lane,) = Packer().pack_trades(trades)
    payloads = FrameDecoder().receive_data(b"".join(parcel.data for parcel in lane))
    ticks = map(Tick.FromString, payloads)
    assert [
        (
            t.symbol,
            t.price,
            t.volume,
            t.exchange_timestamp,
            t.volume_decimals,
            t.trade_id,
            t.excludes,
        )
        for t in ticks
    ] == trades


def test_plain_trades_have_the_bytes_that_they_always_had() -> None:
    trades: list[Trade] = [(*row, 0, b"", 0) for row in ROWS]
    assert Packer().pack_trades(trades) == Packer().pack(ROWS)
