"""The numbers: any arrival order of the same ticks gives the same aggregate."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.candle import MAX_INT64
from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan
from aggregator.book import Applied, Book
from aggregator.sessions.sessions import NS_PER_DAY, NoSession, UtcDay
from marketdata.validation import RejectReason
from marketdata.wire.market_data_pb2 import COVERAGE_FULL, Aggregate, Tick
from tests.doubles.limits import NO_LIMITS

DAY = 16_000 * NS_PER_DAY
LATEST = DAY + 10 * NS_PER_DAY


def make_book(max_symbols: int = 100) -> Book:
    return Book(
        BarEngine(BarPlan(), lambda _: UtcDay()), max_symbols=max_symbols, epoch=7, limits=NO_LIMITS
    )


def make_tick(price: float = 10.0, volume: int = 1, ts: int = DAY, symbol: str = "AAPL") -> Tick:
    return Tick(symbol=symbol, price=price, volume=volume, exchange_timestamp=ts)


def apply(book: Book, *ticks: Tick, first_sequence: int = 1) -> Applied:
    return book.apply(ticks, first_sequence, LATEST)


def state(book: Book, symbol: str = "AAPL") -> Aggregate:
    aggregate = book.aggregate(symbol)
    assert aggregate is not None
    return aggregate


# A few distinct times over three days, so that ties and session changes are common.
times = st.builds(
    lambda day, offset: DAY + day * NS_PER_DAY + offset,
    st.integers(0, 2),
    st.sampled_from([0, 1, 2, NS_PER_DAY // 2, NS_PER_DAY - 1]),
)
prices = st.floats(min_value=1e-300, max_value=1e300, allow_subnormal=False) | st.sampled_from(
    [0.01, 1.0, 1e15]
)
tick_lists = st.lists(
    st.builds(make_tick, prices, st.integers(1, 10**6), times, st.sampled_from(["A", "B"])),
    min_size=1,
    max_size=40,
)


def expected(ticks: list[tuple[int, Tick]], symbol: str) -> Aggregate | None:
    """Compute the aggregate the slow and obvious way."""
    mine = [(seq, t) for seq, t in ticks if t.symbol == symbol]
    if not mine:
        return None
    day = max(t.exchange_timestamp // NS_PER_DAY for _, t in mine)
    mine = [(seq, t) for seq, t in mine if t.exchange_timestamp // NS_PER_DAY == day]
    mine.sort(key=lambda item: (item[1].exchange_timestamp, item[0]))
    volume = sum(t.volume for _, t in mine)
    notional = sum((Fraction(t.price) * t.volume for _, t in mine), Fraction())
    return Aggregate(
        symbol=symbol,
        open=mine[0][1].price,
        high=max(t.price for _, t in mine),
        low=min(t.price for _, t in mine),
        close=mine[-1][1].price,
        volume=volume,
        timestamp=mine[-1][1].exchange_timestamp,
        trades=len(mine),
        vwap=float(notional / volume),
        session_start=day * NS_PER_DAY,
        epoch=7,
        coverage=COVERAGE_FULL,
    )


@given(tick_lists, st.randoms(use_true_random=False))
def test_any_arrival_order_gives_the_same_aggregate(ticks: list[Tick], random: object) -> None:
    numbered = list(enumerate(ticks, 1))
    arrival = numbered.copy()
    random.shuffle(arrival)  # type: ignore[attr-defined]
    book = make_book()
    for sequence, tick in arrival:
        book.apply([tick], sequence, LATEST)
    for symbol in ("A", "B"):
        want, got = expected(numbered, symbol), book.aggregate(symbol)
        if want is None or got is None:
            assert want is got
            continue
        assert got.vwap == pytest.approx(want.vwap, rel=1e-12)
        got = Aggregate.FromString(got.SerializeToString())
        got.ClearField("sequence")
        got.vwap = want.vwap
        assert got == want


@given(tick_lists)
def test_low_and_high_enclose_open_close_and_vwap(ticks: list[Tick]) -> None:
    book = make_book()
    apply(book, *ticks)
    for symbol in book.symbols():
        a = state(book, symbol)
        assert a.low <= a.open <= a.high
        assert a.low <= a.close <= a.high
        assert a.low <= a.vwap <= a.high


@given(tick_lists)
def test_batches_and_single_ticks_give_the_same_numbers(ticks: list[Tick]) -> None:
    whole, single = make_book(), make_book()
    apply(whole, *ticks)
    for sequence, tick in enumerate(ticks, 1):
        apply(single, tick, first_sequence=sequence)
    for symbol in whole.symbols():
        a, b = state(whole, symbol), state(single, symbol)
        assert (a.open, a.high, a.low, a.close) == (b.open, b.high, b.low, b.close)
        assert (a.volume, a.timestamp, a.trades, a.vwap) == (
            b.volume,
            b.timestamp,
            b.trades,
            b.vwap,
        )


def test_vwap_of_a_million_prices_is_exact_to_1e_12() -> None:
    book = make_book()
    ticks = [make_tick(100 + (i * 7919 % 10_007) / 10_007, 1 + i % 97) for i in range(200_000)]
    apply(book, *ticks)
    notional = sum((Fraction(t.price) * t.volume for t in ticks), Fraction())
    exact = notional / sum(t.volume for t in ticks)
    assert abs(Fraction(state(book).vwap) - exact) / exact < Fraction(1, 10**12)


@pytest.mark.parametrize("large_at", [0, 50_000, 100_000])
def test_vwap_keeps_what_a_plain_sum_would_round_away(large_at: int) -> None:
    book = make_book()
    prices = [1.0] * 100_000
    prices.insert(large_at, 1e16)
    apply(book, *map(make_tick, prices))
    assert state(book).vwap == pytest.approx((1e16 + 1e5) / 100_001, rel=1e-15)


def test_identical_ticks_are_two_trades() -> None:
    book = make_book()
    apply(book, make_tick(volume=5), make_tick(volume=5))
    assert (state(book).trades, state(book).volume) == (2, 10)


def test_ties_in_time_fall_to_the_sequence() -> None:
    book = make_book()
    apply(book, make_tick(price=2.0), first_sequence=2)
    apply(book, make_tick(price=1.0), first_sequence=1)
    apply(book, make_tick(price=3.0), first_sequence=3)
    assert (state(book).open, state(book).close) == (1.0, 3.0)


def test_ties_in_time_and_sequence_fall_to_arrival() -> None:
    book = make_book()
    apply(book, make_tick(price=1.0), first_sequence=5)
    apply(book, make_tick(price=2.0), first_sequence=5)
    assert (state(book).open, state(book).close) == (1.0, 2.0)


def test_a_late_tick_never_moves_close_or_timestamp_backwards() -> None:
    book = make_book()
    apply(book, make_tick(price=1.0, ts=DAY + 5), make_tick(price=9.0, ts=DAY + 4))
    a = state(book)
    assert (a.open, a.close, a.timestamp, a.high) == (9.0, 1.0, DAY + 5, 9.0)


def test_a_session_is_the_utc_day_of_the_tick() -> None:
    book = make_book()
    apply(book, make_tick(price=1.0, volume=4, ts=DAY + NS_PER_DAY - 1))
    assert state(book).session_start == DAY
    apply(book, make_tick(price=2.0, volume=3, ts=DAY + NS_PER_DAY))
    a = state(book)
    assert (a.session_start, a.open, a.volume, a.trades) == (DAY + NS_PER_DAY, 2.0, 3, 1)


def test_a_tick_of_an_earlier_session_is_counted_and_changes_nothing() -> None:
    book = make_book()
    apply(book, make_tick(ts=DAY + NS_PER_DAY))
    before = state(book)
    applied = apply(book, make_tick(price=99.0, ts=DAY + NS_PER_DAY - 1))
    assert state(book) == before
    assert (book.late, applied.accepted, len(applied.rows)) == (1, 1, 0)


def test_without_sessions_one_aggregate_covers_all_time() -> None:
    book = Book(
        BarEngine(BarPlan(), lambda _: NoSession()), max_symbols=10, epoch=7, limits=NO_LIMITS
    )
    apply(book, make_tick(price=1.0, ts=1), make_tick(price=2.0, ts=DAY))
    assert (state(book).open, state(book).close, state(book).session_start) == (1.0, 2.0, 0)


def test_each_batch_publishes_one_state_per_changed_symbol() -> None:
    book = make_book()
    applied = apply(book, make_tick(), make_tick(), make_tick(symbol="MSFT"))
    assert set(map(book.symbol, applied.rows.tolist())) == {"AAPL", "MSFT"}
    apply(book, make_tick(symbol="MSFT"))
    assert (state(book).sequence, state(book, "MSFT").sequence) == (1, 2)


@pytest.mark.parametrize(
    ("tick", "reason"),
    [
        (make_tick(price=nan), RejectReason.PRICE_NOT_FINITE),
        (make_tick(price=inf), RejectReason.PRICE_NOT_FINITE),
        (make_tick(price=-inf), RejectReason.PRICE_NOT_FINITE),
        (make_tick(price=0.0), RejectReason.PRICE_NOT_POSITIVE),
        (make_tick(price=-0.01), RejectReason.PRICE_NOT_POSITIVE),
        (make_tick(volume=0), RejectReason.VOLUME_NOT_POSITIVE),
        (make_tick(volume=-1), RejectReason.VOLUME_NOT_POSITIVE),
        (make_tick(ts=0), RejectReason.TIMESTAMP_NOT_POSITIVE),
        (make_tick(ts=LATEST + 1), RejectReason.TIMESTAMP_IN_FUTURE),
        (make_tick(symbol=""), RejectReason.EMPTY_SYMBOL),
        (make_tick(symbol="AAPL "), RejectReason.INVALID_SYMBOL),
        (make_tick(symbol="A" * 65), RejectReason.SYMBOL_TOO_LONG),
        (make_tick(price=1e308, volume=10**18), RejectReason.TOTAL_OVERFLOW),
    ],
)
def test_a_tick_that_would_make_a_wrong_number_is_refused(tick: Tick, reason: str) -> None:
    book = make_book()
    applied = apply(book, tick, first_sequence=41)
    assert applied.rejections == [(41, reason)]
    assert (applied.accepted, len(book)) == (0, 0)


def test_a_volume_total_reaches_int64_and_never_passes_it() -> None:
    book = make_book()
    apply(book, make_tick(volume=MAX_INT64 - 1), make_tick(volume=1))
    applied = apply(book, make_tick(price=99.0, volume=1), first_sequence=3)
    assert applied.rejections == [(3, RejectReason.TOTAL_OVERFLOW)]
    a = state(book)
    assert (a.volume, a.trades, a.high, a.close) == (MAX_INT64, 2, 10.0, 10.0)


def test_a_notional_total_never_becomes_infinite() -> None:
    book = make_book()
    applied = apply(book, make_tick(price=1.7e308), make_tick(price=1.7e308))
    assert applied.rejections == [(2, RejectReason.TOTAL_OVERFLOW)]
    assert state(book).vwap == 1.7e308


def test_new_symbols_beyond_the_limit_are_rejected_and_known_ones_go_on() -> None:
    book = make_book(max_symbols=1)
    applied = apply(book, make_tick(), make_tick(symbol="MSFT"), make_tick())
    assert applied.rejections == [(2, RejectReason.TOO_MANY_SYMBOLS)]
    assert book.symbols() == ["AAPL"]
    assert state(book).trades == 2


def test_symbols_are_listed_in_byte_order() -> None:
    book = make_book()
    apply(book, *(make_tick(symbol=symbol) for symbol in ("B", "^A", "A.B", "A")))
    assert book.symbols() == ["A", "A.B", "B", "^A"]


def test_a_tick_that_overflows_does_not_begin_a_session() -> None:
    book = make_book()
    rejected = apply(book, make_tick(), make_tick(1e308, 100, DAY + NS_PER_DAY)).rejections
    assert rejected == [(2, RejectReason.TOTAL_OVERFLOW)]
    assert (state(book).close, state(book).trades) == (10.0, 1)


def test_an_absurd_tick_leaves_room_for_all_later_ones() -> None:
    engine = BarEngine(BarPlan(), lambda _: UtcDay())
    book = Book(engine, max_symbols=10, epoch=7)
    absurd = [
        make_tick(volume=MAX_INT64),
        make_tick(volume=10**15 + 1),
        make_tick(price=1.7976931348623157e308),
        make_tick(price=9223372036.854775807),
    ]
    applied = book.apply(
        [make_tick(volume=10**15), *absurd, make_tick(volume=5), *absurd, make_tick(volume=7)],
        1,
        LATEST,
    )
    reasons = ["volume_too_large", "volume_too_large", "price_too_large", "price_sentinel"]
    assert [reason for _, reason in applied.rejections] == reasons * 2
    assert book.state("AAPL").volume == 10**15 + 12


def test_symbols_that_differ_in_case_are_two() -> None:
    book = make_book()
    apply(book, make_tick(symbol="AMpB", price=25.1), make_tick(symbol="AMPB", price=3.2))
    assert (book.state("AMpB").close, book.state("AMPB").close) == (25.1, 3.2)
