"""The compiled encoders write what the protobuf library writes, of what Candle sums up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregator.bars import layout
from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import MAX_INT64, Candle
from aggregator.wire import encode as encoder
from aggregator.wire.pieces import PieceRoom, message_of, pack_names
from aggregator.wire.symbol_table import SymbolTable
from marketdata.symbols import MAX_SYMBOL_LENGTH
from marketdata.wire.market_data_pb2 import Aggregate, UpdateBatch

INTERVALS = ("1s", "15m", "1d", "x" * encoder.INTERVAL_WIDTH)
ROWS = 4

# Every length of a varint, and its limits.
sizes = st.one_of(st.integers(0, 63).map(lambda bits: (1 << bits) - 1), st.integers(0, MAX_INT64))
positive = st.one_of(sizes, st.integers(0, 62).map(lambda bits: 1 << bits)).filter(bool)
prices = st.one_of(
    st.floats(min_value=5e-324, max_value=1.7e308, allow_subnormal=True),
    st.sampled_from([5e-324, 1e-310, 1.0, 0.1, 1e15, 1.7e308]),
    st.integers(1, 9).map(float),
)
symbols = st.text("ABCXYZ.^0", min_size=1, max_size=MAX_SYMBOL_LENGTH)
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


def make_room(max_bytes: int, count: int) -> PieceRoom:
    room = PieceRoom(max_bytes)
    room.reserve(count)
    room.out.fill(0xEE)
    return room


def pieces(room: PieceRoom, count: int, end: int) -> list[bytes]:
    found = room.cut(count)
    assert b"".join(found) == room.out[:end].tobytes()
    return found


class Columns:
    """What the encoders read, empty."""

    def __init__(self, symbols: Sequence[str]) -> None:
        lanes = len(INTERVALS)
        self.table = SymbolTable()
        for symbol in symbols:
            self.table.add(symbol)
        self.hot_ints = np.zeros((ROWS, layout.HOT_INTS), np.int64)
        self.hot_reals = np.zeros((ROWS, layout.HOT_REALS))
        self.ints = np.zeros((ROWS, layout.LANES + layout.LANE * lanes), np.int64)
        self.reals = np.zeros((ROWS, layout.LANE_REALS + layout.CANDLE * lanes))
        self.intervals = pack_names(INTERVALS, encoder.INTERVAL_WIDTH)
        self.phases = pack_names(layout.PHASES, encoder.PHASE_WIDTH)

    def base(self, row: int, candle: Candle | None) -> None:
        if candle is not None:
            put(self.hot_ints[row], self.hot_reals[row], candle)

    def session(self, row: int, candle: Candle | None) -> None:
        if candle is not None:
            put(self.ints[row, layout.SESSION :], self.reals[row, layout.SESSION_REALS :], candle)

    def states(self, rows: Sequence[int], epoch: int) -> list[bytes]:
        room = make_room(encoder.MAX_STATE_BYTES, len(rows))
        end = encoder.encode_states(
            np.array(rows, np.int32),
            len(rows),
            self.hot_ints,
            self.hot_reals,
            self.ints,
            self.reals,
            self.table.names,
            self.table.lengths,
            epoch,
            room.out,
            room.ends,
        )
        return pieces(room, len(rows), end)


def put(ints: NDArray[np.int64], reals: NDArray[np.float64], candle: Candle) -> None:
    c = candle
    ints[: layout.CANDLE] = (
        c.volume,
        c.trades,
        c.first_ts,
        c.first_sequence,
        c.last_ts,
        c.last_sequence,
    )
    reals[: layout.CANDLE] = c.open, c.high, c.low, c.close, c.notional, c.notional_error


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
        columns.ints[row, layout.IN_SESSION] = in_session
        columns.ints[row, layout.SESSION_START] = start
        columns.hot_ints[row, layout.SEQUENCE] = sequence
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
    phase=st.sampled_from(layout.PHASES),
    sequence=sizes,
)


@given(names, st.lists(st.tuples(st.integers(0, ROWS - 1), bars), max_size=6), sizes)
def test_bars_are_those_of_the_library(
    names: list[str], pool: list[tuple[int, Bar]], epoch: int
) -> None:
    columns = Columns(names)
    count = len(pool)
    ints = np.zeros((count, layout.BAR_INTS), np.int64)
    reals = np.zeros((count, layout.BAR_REALS))
    for index, (row, bar) in enumerate(pool):
        bar.symbol = names[row]
        put(ints[index], reals[index], bar.candle)
        ints[index, layout.BAR_ROW] = row
        ints[index, layout.BAR_LANE] = INTERVALS.index(bar.interval)
        ints[index, layout.BAR_START], ints[index, layout.BAR_END] = bar.start, bar.end
        ints[index, layout.STATE], ints[index, layout.REVISION] = bar.state, bar.revision
        ints[index, layout.COVERAGE] = bar.coverage
        ints[index, layout.PHASE] = layout.PHASES.index(bar.phase)
        ints[index, layout.BAR_SEQUENCE] = bar.sequence
    picked = list(reversed(range(count)))
    room = make_room(encoder.MAX_BAR_BYTES, count)
    end = encoder.encode_bars(
        np.array(picked, np.int32),
        count,
        ints,
        reals,
        columns.table.names,
        columns.table.lengths,
        *columns.intervals,
        *columns.phases,
        epoch,
        room.out,
        room.ends,
    )
    assert pieces(room, count, end) == [as_piece(pool[index][1], epoch) for index in picked]


def as_piece(bar: Bar, epoch: int) -> bytes:
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
    lanes: tuple[tuple[Candle | None, int, int, int, int], ...],
    coverage: Coverage,
    epoch: int,
) -> None:
    columns = Columns(names)
    row, (base, base_start) = 2, present
    columns.base(row, base)
    columns.ints[row, layout.BASE_START] = base_start
    want = []
    for number, (candle, start, end, sequence, phase) in enumerate(lanes):
        lane = columns.ints[row, layout.LANES + layout.LANE * number :]
        lane[layout.START], lane[layout.END] = start, end
        lane[layout.OPEN_SEQUENCE], lane[layout.LANE_PHASE] = sequence, phase
        if candle is not None:
            at = layout.LANE_REALS + layout.CANDLE * number
            put(lane[layout.LANE_CANDLE :], columns.reals[row, at:], candle)
        whole = sum_of(candle, base if start <= base_start < end else None)
        piece = b""
        if whole is not None and start < end and sequence:
            bar = Bar(names[row], INTERVALS[number], start, end, whole)
            bar.coverage, bar.sequence, bar.phase = coverage, sequence, layout.PHASES[phase]
            piece = as_piece(bar, epoch)
        want.append(piece)
    count = len(lanes)
    room = make_room(encoder.MAX_BAR_BYTES, count)
    end = encoder.encode_open_bars(
        np.full(count, row, np.int32),
        np.arange(count, dtype=np.int32),
        count,
        np.full(count, coverage, np.int64),
        columns.hot_ints,
        columns.hot_reals,
        columns.ints,
        columns.reals,
        columns.table.names,
        columns.table.lengths,
        *columns.intervals,
        *columns.phases,
        epoch,
        room.out,
        room.ends,
    )
    assert pieces(room, count, end) == want


def longest() -> Candle:
    candle = Candle()
    candle.open = candle.high = candle.low = candle.close = 1.1
    candle.volume = candle.trades = MAX_INT64
    candle.first_ts = candle.last_ts = MAX_INT64
    candle.first_sequence = candle.last_sequence = MAX_INT64
    candle.notional = 1.1
    return candle


def test_the_longest_pieces_fit_with_the_words_written_behind_them() -> None:
    columns = Columns(["S" * MAX_SYMBOL_LENGTH])
    columns.session(0, longest())
    columns.ints[0, layout.SESSION_START] = -1
    columns.hot_ints[0, layout.SEQUENCE] = MAX_INT64
    (state,) = columns.states([0], MAX_INT64)
    assert UpdateBatch.FromString(state).updates[0].session_start == -1
    assert len(state) + 16 <= encoder.MAX_STATE_BYTES
    bar = Bar("S" * MAX_SYMBOL_LENGTH, "x" * encoder.INTERVAL_WIDTH, MAX_INT64, -1, longest())
    bar.revision, bar.sequence, bar.phase = 2**32 - 1, MAX_INT64, "p" * encoder.PHASE_WIDTH
    assert len(as_piece(bar, MAX_INT64)) + 16 <= encoder.MAX_BAR_BYTES


def test_there_is_room_for_as_many_pieces_as_asked() -> None:
    room = PieceRoom(10)
    room.reserve(1_000)
    assert (len(room.ends) >= 1_000, len(room.out) >= 10_000) == (True, True)
    room.out[:5] = np.frombuffer(b"abcde", np.uint8)
    room.ends[:3] = 2, 2, 5
    assert room.cut(3) == [b"ab", b"", b"cde"]
    assert room.cut(0) == []


def test_a_message_is_a_piece_without_tag_and_length() -> None:
    for size in (0, 127, 128, 200):
        aggregate = Aggregate(symbol="x" * size)
        piece = UpdateBatch(updates=[aggregate]).SerializeToString()
        assert message_of(piece) == aggregate.SerializeToString()


def test_a_name_that_is_too_long_for_its_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="17 bytes, limit is 16"):
        pack_names(["y" * 17], 16)
