"""Any bytes give the same ticks as the protobuf library reads."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from aggregator.wire.batch import Decoder
from aggregator.wire.symbol_table import SymbolTable
from aggregator.wire.ticks import EMPTY
from marketdata.wire.market_data_pb2 import Tick, TickBatch

KNOWN = [
    "A",
    "AAPL",
    "SEVEN77",
    "EIGHT888",
    "NINE99999",
    "S" * 16,
    "S" * 17,
    "S" * 24,
    "S" * 25,
    "S" * 31,
    "S" * 32,
    "S" * 33,
    "S" * 40,
    "S" * 41,
    "S" * 63,
    "S" * 64,
    "S" * 32 + "T" * 8,
    "S" * 48 + "T" * 16,
    "AAPL  251219C00150000",
    "AMPB",
    "AMpB",
    "/ES",
]
Seen = tuple[str, int, list[tuple[str, float, int, int]], bytes | None, list[int]]

symbols = st.sampled_from([*KNOWN, "NEW", "aapl", "", "É", "T" * 33, "S" * 42, "S" * 65, "T" * 120])
int64s = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**20),
    st.sampled_from([0, 1, 127, 128, 2**48, 2**55, 2**56, 2**62, 1_760_000_000_000_000_000]),
)
ticks = st.builds(
    Tick,
    symbol=symbols,
    price=st.floats(),
    volume=int64s,
    exchange_timestamp=int64s,
    ingest_timestamp=int64s,
)


def table() -> SymbolTable:
    made = SymbolTable()
    for symbol in KNOWN:
        made.add(symbol)
    return made


def by_library(data: bytes) -> Seen | None:
    try:
        batch = TickBatch.FromString(data)
    except DecodeError:
        return None
    rows = [(t.symbol, t.price, t.volume, t.exchange_timestamp) for t in batch.ticks]
    feed = batch.feed.SerializeToString(deterministic=True) if batch.HasField("feed") else None
    empty = [index for index, tick in enumerate(batch.ticks) if not tick.ByteSize()]
    return batch.producer_id, batch.first_sequence, rows, feed, empty


def by_columns(data: bytes) -> Seen | None:
    known = table()
    try:
        batch = Decoder(known).decode(data)
    except DecodeError:
        return None
    rows = []
    for index in range(batch.count):
        row = int(batch.rows[index])
        symbol = "" if row == EMPTY else batch.symbol(index, known)
        price, volume, ts = batch.prices[index], batch.volumes[index], batch.times[index]
        rows.append((symbol, float(price), int(volume), int(ts)))
    feed = None if batch.feed is None else batch.feed.SerializeToString(deterministic=True)
    empty = batch.empty_within(0, batch.count)
    assert batch.empty == len(empty)
    return batch.producer_id, batch.first_sequence, rows, feed, empty


def check(data: bytes) -> None:
    # repr: NaN equals itself there.
    assert repr(by_columns(data)) == repr(by_library(data))


@st.composite
def batches(draw: st.DrawFn) -> bytes:
    batch = TickBatch(
        producer_id=draw(st.sampled_from(["", "p", "ingest-1", "x" * 200])),
        first_sequence=draw(st.integers(0, 2**64 - 1)),
        ticks=draw(st.lists(st.one_of(ticks, st.just(Tick())), max_size=6)),
    )
    if draw(st.booleans()):
        batch.feed.producers = draw(st.integers(0, 5))
        batch.feed.rejected["malformed"] = 3
    return batch.SerializeToString()


@given(batches())
def test_a_batch_is_read_as_the_library_reads_it(data: bytes) -> None:
    check(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused_as_the_library_does(data: bytes) -> None:
    check(data)


@given(batches(), st.data())
def test_a_changed_byte_is_read_or_refused_as_the_library_does(
    data: bytes, draw: st.DataObject
) -> None:
    changed = bytearray(data or b"\0")
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(changed) - 1))
        changed[at] = draw.draw(st.integers(0, 255))
    check(bytes(changed))


@given(batches(), batches(), st.integers(0, 400))
def test_joined_and_cut_batches_are_read_as_the_library_reads_them(
    one: bytes, two: bytes, cut: int
) -> None:
    check(one + two)
    check((one + two)[:cut])


@given(
    st.permutations(
        [
            b"\x0a\x04AAPL",
            b"\x11" + bytes(6) + b"\xf0\x3f",
            b"\x18\x05",
            b"\x20\x80\x01",
            b"\x28\x07",
            b"\x18\x09",
            b"\x32\x01x",
        ]
    )
)
def test_fields_in_any_order_or_repeated_are_read_as_the_library_reads_them(
    fields: list[bytes],
) -> None:
    tick = b"".join(fields)
    check(b"\x1a" + bytes((len(tick),)) + tick)


@pytest.mark.parametrize(
    "volume", [b"\x80\x00", b"\x85\x80\x00", b"\xff" * 9 + b"\x01", b"\xff" * 10]
)
def test_numbers_written_in_odd_ways_are_read_as_the_library_reads_them(volume: bytes) -> None:
    tick = b"\x0a\x04AAPL\x11" + bytes(6) + b"\xf0\x3f\x18" + volume + b"\x20\x80\x01"
    check(b"\x1a" + bytes((len(tick),)) + tick)


@pytest.mark.parametrize("small", [Tick(), Tick(volume=1), Tick(symbol="A"), Tick(symbol="NEW")])
def test_many_ticks_of_few_bytes_leave_room_for_usual_ones(small: Tick) -> None:
    usual = Tick(symbol="AAPL", price=1, volume=1, exchange_timestamp=1)
    sent = [small] * 5_000 + [usual] * 5_000 + [small, usual] * 2_000
    check(TickBatch(first_sequence=1, ticks=sent).SerializeToString())


def test_thousands_of_symbols_are_found() -> None:
    known = SymbolTable()
    names = [f"SYM{number}" for number in range(5_000)]
    for name in names:
        known.add(name)
    batch = TickBatch(
        ticks=[Tick(symbol=name, price=1, volume=1, exchange_timestamp=1) for name in names]
    )
    decoded = Decoder(known).decode(batch.SerializeToString())
    assert decoded.rows[: decoded.count].tolist() == list(range(5_000))
    assert not decoded.unknown


@pytest.mark.parametrize(
    ("times", "expected"),
    [([], None), ([5, 3, 9], (3, 9)), ([0, 4, 2, 11], (2, 4)), ([-1, 0, 11], None)],
)
def test_only_times_that_are_accepted_count_for_the_range_of_a_batch(
    times: list[int], expected: tuple[int, int] | None
) -> None:
    ticks = [Tick(symbol="A", price=1, volume=1, exchange_timestamp=time) for time in times]
    assert Decoder(table()).read(ticks).time_range(latest_ns=10) == expected
