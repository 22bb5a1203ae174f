"""The compiled encoders write what the protobuf library writes, of what Candle sums up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import MAX_INT64, Candle
from aggregator.bars.kernel import encode
from aggregator.bars.kernel.query import OPEN_BAR
from aggregator.bars.kernel.records import BAR, PHASES, OpenTables
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.bars.tables import make_tables
from aggregator.wire.encoded import EncodedRoom, message_of, pack_names
from aggregator.wire.symbol_table import SymbolTable
from marketdata.symbols import MAX_SYMBOL_LENGTH
from marketdata.wire.market_data_pb2 import Aggregate, UpdateBatch

INTERVALS = ("1s", "15m", "1d", "x" * encode.NAME_WIDTH)
COVERAGES = [Coverage.PARTIAL, Coverage.FULL, Coverage.NO_FEED, Coverage.PARTIAL]
ROWS = 4

# Every length of a varint, and its limits.
sizes = st.one_of(st.integers(0, 63).map(lambda bits: (1 << bits) - 1), st.integers(0, MAX_INT64))
positive = st.one_of(sizes, st.integers(0, 62).map(lambda bits: 1 << bits)).filter(bool)
prices = st.one_of(
    st.floats(min_value=5e-324, max_value=1.7e308, allow_subnormal=True),
    st.sampled_from([5e-324, 1e-310, 1.0, 0.1, 1e15, 1.7e308]),
    st.integers(1, 9).map(float),
)
symbols = st.text("ABCXYZ.^0 ~/", min_size=1, max_size=MAX_SYMBOL_LENGTH)
names = st.lists(symbols, min_size=ROWS, max_size=ROWS, unique=True)
moments = st.one_of(st.integers(0, 5), sizes)


@st.composite
def candles(draw: st.DrawFn, most: int = MAX_INT64) -> Candle:
    candle = Candle()
    candle.low, candle.high = sorted((draw(prices), draw(prices)))
    candle.open, candle.close = draw(prices), draw(prices)
    candle.volume = min(draw(positive), most)
    candle.trades = min(draw(positive), most)
    candle.notional = draw(st.floats(min_value=5e-324, max_value=8e307))
    candle.notional_error = draw(st.floats(-1e290, 1e290))
    (candle.first_ts, candle.first_sequence), (candle.last_ts, candle.last_sequence) = sorted(
        (draw(st.tuples(moments, moments)), draw(st.tuples(moments, moments)))
    )
    return candle


halves = candles(most=MAX_INT64 // 2)


def make_room(max_bytes: int, scratch: np.dtype[np.void], count: int) -> EncodedRoom:
    room = EncodedRoom(max_bytes, scratch)
    room.reserve(count).data.fill(0xEE)
    return room


def records(room: EncodedRoom, count: int, end: int) -> list[bytes]:
    found = room.cut(count)
    assert b"".join(found) == room.out.data[:end].tobytes()
    return found


class Columns:
    """What the encoders read, empty."""

    def __init__(self, symbols: Sequence[str]) -> None:
        table = SymbolTable()
        for symbol in symbols:
            table.add(symbol)
        plan = BarPlan(parse_intervals("1s,15m,1h,1d"))
        self.tables = make_tables(plan)
        self.texts = encode.Texts(
            table.names,
            table.lengths,
            *pack_names(INTERVALS, encode.NAME_WIDTH),
            *pack_names(PHASES, encode.NAME_WIDTH),
        )

    def open_tables(self) -> OpenTables:
        return OpenTables(self.tables.bases, self.tables.symbols, self.tables.slots)

    def base(self, row: int, candle: Candle | None) -> None:
        if candle is not None:
            self.tables.bases[row]["candle"] = candle.values()

    def session(self, row: int, candle: Candle | None) -> None:
        if candle is not None:
            self.tables.symbols[row]["session"] = candle.values()

    def states(self, rows: Sequence[int], epoch: int) -> list[bytes]:
        room = make_room(encode.MAX_STATE_BYTES, encode.STATE, len(rows))
        found = np.zeros(len(rows), OPEN_BAR)
        found["row"], found["refused"] = rows, rows
        coverages = np.array([COVERAGES[row % 4] for row in rows], np.int64)
        end = encode.encode_states(
            found, coverages, self.open_tables(), *self.texts[:2], epoch, room.out
        )
        return records(room, len(rows), end)


def sum_of(first: Candle | None, second: Candle | None) -> Candle | None:
    if first is None or second is None:
        return first or second
    whole = first.copy()
    whole.merge(second)
    return whole


@given(
    names,
    st.lists(
        st.tuples(st.none() | halves, st.none() | halves, st.booleans(), sizes, positive),
        min_size=ROWS,
        max_size=ROWS,
    ),
    sizes,
    st.permutations(range(ROWS)),
)
def test_states_are_those_of_the_library(
    names: list[str],
    states: list[tuple[Candle | None, Candle | None, bool, int, int]],
    epoch: int,
    order: list[int],
) -> None:
    columns = Columns(names)
    want = {}
    for row, (session, base, in_session, start, sequence) in enumerate(states):
        columns.session(row, session)
        columns.base(row, base)
        columns.tables.symbols[row]["in_session"] = in_session
        columns.tables.symbols[row]["session_start"] = start
        columns.tables.bases[row]["sequence"] = sequence
        whole = sum_of(session, base if in_session else None)
        want[row] = b""
        if whole is not None:
            aggregate = Aggregate(
                symbol=names[row],
                open=whole.open,
                high=whole.high,
                low=whole.low,
                close=whole.close,
                volume=whole.volume,
                timestamp=whole.last_ts,
                trades=whole.trades,
                vwap=whole.vwap,
                session_start=start,
                sequence=sequence,
                epoch=epoch,
                coverage=COVERAGES[row % 4].value,
                refused=row,
            )
            want[row] = UpdateBatch(updates=[aggregate]).SerializeToString()
    assert columns.states(order, epoch) == [want[row] for row in order]


bars = st.builds(
    Bar,
    symbol=st.just(""),
    interval=st.sampled_from(INTERVALS),
    start=sizes,
    end=sizes,
    candle=candles(),
    state=st.sampled_from(BarState),
    revision=st.one_of(st.just(0), st.integers(0, 2**32 - 1)),
    coverage=st.sampled_from(Coverage),
    phase=st.sampled_from(PHASES),
    sequence=sizes,
)


@given(names, st.lists(st.tuples(st.integers(0, ROWS - 1), bars), max_size=6), sizes)
def test_bars_are_those_of_the_library(
    names: list[str], pool: list[tuple[int, Bar]], epoch: int
) -> None:
    columns = Columns(names)
    count = len(pool)
    pooled = np.zeros(count, BAR)
    for record, (row, bar) in zip(pooled, pool, strict=True):
        bar.symbol = names[row]
        record["candle"] = bar.candle.values()
        record["row"], record["slot"] = row, INTERVALS.index(bar.interval)
        for name in ("start", "end", "state", "revision", "coverage", "sequence"):
            record[name] = getattr(bar, name)
        record["phase"] = PHASES.index(bar.phase)
    picked = list(reversed(range(count)))
    room = make_room(encode.MAX_BAR_BYTES, BAR, count)
    end = encode.encode_bars(np.array(picked, np.int64), pooled, columns.texts, epoch, room.out)
    assert records(room, count, end) == [as_record(pool[index][1], epoch) for index in picked]


def as_record(bar: Bar, epoch: int) -> bytes:
    return UpdateBatch(bars=[bar.to_message(epoch)]).SerializeToString()


@given(
    names,
    st.tuples(st.none() | halves, sizes),
    st.tuples(*[st.tuples(st.none() | halves, sizes, sizes, sizes, st.integers(0, 4))] * 4),
    st.sampled_from(Coverage),
    sizes,
)
def test_open_bars_are_those_of_the_library(
    names: list[str],
    present: tuple[Candle | None, int],
    slots: tuple[tuple[Candle | None, int, int, int, int], ...],
    coverage: Coverage,
    epoch: int,
) -> None:
    columns = Columns(names)
    row, (base, base_start) = 2, present
    columns.base(row, base)
    columns.tables.symbols[row]["base_start"] = base_start
    want = []
    for number, (candle, start, end, sequence, phase) in enumerate(slots):
        slot = columns.tables.slots[row, number]
        slot["start"], slot["end"] = start, end
        slot["open_sequence"], slot["phase"] = sequence, phase
        if candle is not None:
            slot["candle"] = candle.values()
        whole = sum_of(candle, base if start <= base_start < end else None)
        record = b""
        if whole is not None and start < end and sequence:
            bar = Bar(names[row], INTERVALS[number], start, end, whole)
            bar.coverage, bar.sequence, bar.phase = coverage, sequence, PHASES[phase]
            record = as_record(bar, epoch)
        want.append(record)
    count = len(slots)
    found = np.zeros(count, OPEN_BAR)
    found["row"], found["slot"] = row, np.arange(count)
    room = make_room(encode.MAX_BAR_BYTES, BAR, count)
    coverages = np.full(count, coverage, np.int64)
    end = encode.encode_open_bars(
        found, coverages, columns.open_tables(), columns.texts, epoch, room.out
    )
    assert records(room, count, end) == want


def longest() -> Candle:
    candle = Candle()
    candle.open = candle.high = candle.low = candle.close = 1.1
    candle.volume = candle.trades = MAX_INT64
    candle.first_ts = candle.last_ts = MAX_INT64
    candle.first_sequence = candle.last_sequence = MAX_INT64
    candle.notional = 1.1
    return candle


def test_the_longest_records_fit_with_the_words_written_after_them() -> None:
    columns = Columns(["S" * MAX_SYMBOL_LENGTH])
    columns.session(0, longest())
    columns.tables.symbols[0]["session_start"] = -1
    columns.tables.bases[0]["sequence"] = MAX_INT64
    (state,) = columns.states([0], MAX_INT64)
    assert UpdateBatch.FromString(state).updates[0].session_start == -1
    assert len(state) + 16 <= encode.MAX_STATE_BYTES
    bar = Bar("S" * MAX_SYMBOL_LENGTH, "x" * encode.NAME_WIDTH, MAX_INT64, -1, longest())
    bar.revision, bar.sequence, bar.phase = 2**32 - 1, MAX_INT64, "p" * encode.NAME_WIDTH
    assert len(as_record(bar, MAX_INT64)) + 16 <= encode.MAX_BAR_BYTES


def test_there_is_room_for_as_many_records_as_asked() -> None:
    room = EncodedRoom(10, BAR)
    out = room.reserve(1_000)
    assert (len(out.ends) >= 1_000, len(out.data) >= 10_000) == (True, True)
    out.data[:5] = np.frombuffer(b"abcde", np.uint8)
    out.ends[:3] = 2, 2, 5
    assert room.cut(3) == [b"ab", b"", b"cde"]
    assert room.cut(0) == []


def test_a_message_is_a_record_without_tag_and_length() -> None:
    for size in (0, 127, 128, 200):
        aggregate = Aggregate(symbol="x" * size)
        record = UpdateBatch(updates=[aggregate]).SerializeToString()
        assert message_of(record) == aggregate.SerializeToString()


def test_a_name_that_is_too_long_for_its_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="17 bytes, limit is 16"):
        pack_names(["y" * 17], 16)
