"""Decimals, ids, conditions and amendments of trades, against plain sums in decimals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.bar import Bar
from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.book import Applied, Book
from aggregator.sessions.sessions import UtcDay
from marketdata.decimals import scaled, to_decimal
from marketdata.timestamps import NS_PER_S
from marketdata.validation import RejectReason
from marketdata.wire.market_data_pb2 import (
    EXCLUDE_HIGH_LOW,
    EXCLUDE_LAST,
    EXCLUDE_OPEN,
    EXCLUDE_VOLUME,
    TICK_ACTION_CANCEL,
    TICK_ACTION_CORRECT,
    Aggregate,
    Tick,
    TickBatch,
)

S = NS_PER_S
DAY = 20_000 * 86_400 * S
START = DAY + 10 * 3600 * S
LATEST = 2**62
INTERVALS = ("1s", "1m", "1h", "1d")
SIZES = {"1s": S, "1m": 60 * S, "1h": 3600 * S, "1d": 86_400 * S}


@dataclass(frozen=True)
class Print:
    """A trade as it should count."""

    ts: int
    price: float
    size: Decimal
    id: bytes = b""
    excludes: int = 0
    # Where it stands among those of the same time.
    order: int = 0

    def tick(self, action: int = 0) -> Tick:
        volume, decimals = scaled(self.size)
        return Tick(
            symbol="BTC-USD",
            price=self.price,
            volume=volume,
            volume_decimals=decimals,
            exchange_timestamp=self.ts,
            trade_id=self.id,
            excludes=self.excludes,
            action=action,  # type: ignore[arg-type]
        )


class Market:
    """A book, its engine, and the next sequence."""

    def __init__(self, *, max_trade_ids: int = 1000, revise_s: int = 900) -> None:
        plan = BarPlan(
            intervals=parse_intervals(",".join(INTERVALS)),
            grace_ns=2 * S,
            revise_ns=revise_s * S,
        )
        self.engine = BarEngine(plan, lambda _symbol: UtcDay())
        self.book = Book(self.engine, max_symbols=10, epoch=1, max_trade_ids=max_trade_ids)
        self.sequence = 1

    def apply(self, *ticks: Tick, any_price: bool = False) -> Applied:
        message = TickBatch(first_sequence=self.sequence, ticks=ticks, any_price=any_price)
        batch = self.book.decoder.decode(message.SerializeToString())
        applied = self.book.apply_batch(batch, self.sequence, LATEST)
        self.sequence += len(ticks)
        return applied

    def state(self) -> Aggregate:
        return self.book.state("BTC-USD")

    def bars(self, interval: str) -> list[Bar]:
        row, index = self.book.row("BTC-USD"), INTERVALS.index(interval)
        assert row is not None
        source = self.engine._sources[0]
        found = source.recent(row, index, 0, 2**62)
        bar = source.open_bar(row, index)
        return [*found, *([bar] if bar is not None else [])]


def numbers(prints: Iterable[Print]) -> tuple[object, ...]:
    """Return open, high, low, close, volume, trades and vwap by the definition."""
    prints = sorted(prints, key=lambda each: (each.ts, each.order))
    opens = [each.price for each in prints if not each.excludes & EXCLUDE_OPEN]
    closes = [each.price for each in prints if not each.excludes & EXCLUDE_LAST]
    ranges = [each.price for each in prints if not each.excludes & EXCLUDE_HIGH_LOW]
    counted = [each for each in prints if not each.excludes & EXCLUDE_VOLUME]
    volume = sum((each.size for each in counted), Decimal(0))
    money = sum((Decimal(each.price) * each.size for each in counted), Decimal(0))
    return (
        opens[0] if opens else None,
        max(ranges, default=None),
        min(ranges, default=None),
        closes[-1] if closes else None,
        volume,
        len(prints),
        round(float(money / volume), 9) if volume else None,
    )


def known(value: float, digits: int | None = None) -> float | None:
    if isnan(value):
        return None
    return value if digits is None else round(value, digits)


def of_bar(bar: Bar) -> tuple[object, ...]:
    c = bar.candle
    prices = (known(c.open), known(c.high), known(c.low), known(c.close))
    return (*prices, to_decimal(c.volume, c.volume_decimals), c.trades, known(c.vwap, 9))


def of_state(a: Aggregate) -> tuple[object, ...]:
    prices = (known(a.open), known(a.high), known(a.low), known(a.close))
    return (*prices, to_decimal(a.volume, a.volume_decimals), a.trades, known(a.vwap, 9))


def check(market: Market, prints: Sequence[Print]) -> None:
    """Compare every bar and the state with the definition."""
    assert of_state(market.state()) == numbers(prints)
    for interval in INTERVALS:
        size = SIZES[interval]
        starts = sorted({each.ts - each.ts % size for each in prints})
        expected = {
            start: numbers(each for each in prints if start <= each.ts < start + size)
            for start in starts
        }
        found = {bar.start: of_bar(bar) for bar in market.bars(interval) if bar.candle.trades}
        assert found == expected, interval


sizes = st.builds(
    to_decimal,
    st.integers(1, 10**9),
    st.integers(0, 8),
)
prices = st.sampled_from([9.5, 10.0, 10.25, 11.0, 0.000017])
times = st.integers(0, 400).map(lambda tenths: START + tenths * S // 10)


PLAIN = st.just(0)


@st.composite
def distinct(draw: st.DrawFn, excludes: st.SearchStrategy[int] = PLAIN) -> list[Print]:
    """Trades with ids, each of another time, in any order."""
    moments = draw(st.lists(times, min_size=1, max_size=25, unique=True))
    return [
        Print(ts, draw(prices), draw(sizes), b"%d" % number, draw(excludes))
        for number, ts in enumerate(moments)
    ]


cuts = st.lists(st.integers(1, 8), min_size=30, max_size=30)


def batches(prints: Sequence[Print], parts: Sequence[int]) -> Iterable[Sequence[Print]]:
    at = 0
    for part in parts:
        yield prints[at : at + part]
        at += part


@given(distinct(), cuts)
def test_sizes_add_up_to_the_last_digit_in_any_order(prints: list[Print], parts: list[int]) -> None:
    market = Market()
    for part in batches(prints, parts):
        if part:
            market.apply(*(replace(each, id=b"").tick() for each in part))
    check(market, prints)


@given(distinct(), st.lists(st.integers(0, 24), max_size=40), cuts)
def test_a_trade_counts_once_however_often_it_comes(
    prints: list[Print], again: list[int], parts: list[int]
) -> None:
    market = Market()
    given_prints = list(prints)
    for number in again:
        given_prints.insert(number, prints[number % len(prints)])
    seen = duplicates = 0
    for part in batches(given_prints, [*parts, 100]):
        applied = market.apply(*(each.tick() for each in part))
        seen += applied.accepted
        duplicates += applied.duplicates
    assert (seen, duplicates) == (len(prints), len(again))
    check(market, prints)


@given(distinct(st.integers(0, 15)), cuts, st.booleans())
def test_a_trade_moves_nothing_that_it_excludes(
    prints: list[Print], parts: list[int], has_ids: bool
) -> None:
    market = Market()
    for part in batches(prints, parts):
        if part:
            market.apply(*((each if has_ids else replace(each, id=b"")).tick() for each in part))
    check(market, prints)


amendments = st.lists(
    st.tuples(st.integers(0, 24), st.booleans(), prices, sizes, st.integers(0, 15)), max_size=20
)


@given(distinct(st.sampled_from([0, 0, 0, 4, 15])), amendments, cuts)
def test_bars_are_as_if_trades_had_been_otherwise(
    prints: list[Print], amended: list[tuple[int, bool, float, Decimal, int]], parts: list[int]
) -> None:
    market = Market()
    now: dict[bytes, Print] = {}
    cancelled: set[bytes] = set()
    waiting = list(amended)
    for part in batches(prints, parts):
        if part:
            market.apply(*(each.tick() for each in part))
        now |= {each.id: each for each in part}
        while waiting and waiting[0][0] % len(prints) < len(now) + len(cancelled):
            number, is_cancel, price, size, excludes = waiting.pop(0)
            old = prints[number % len(prints)]
            new = replace(old, price=price, size=size, excludes=excludes)
            applied = market.apply(
                new.tick(TICK_ACTION_CANCEL if is_cancel else TICK_ACTION_CORRECT)
            )
            if old.id in cancelled:
                expected = (0, 1) if is_cancel else (0, 0)
                assert (applied.accepted, applied.duplicates) == expected
                continue
            if old.id not in now:
                assert [reason for _, reason in applied.rejections] == ["unknown_trade_id"]
                continue
            assert (applied.accepted, applied.rejections) == (1, [])
            if is_cancel:
                del now[old.id]
                cancelled.add(old.id)
            else:
                now[old.id] = new
            if now:
                check(market, list(now.values()))
    if now:
        check(market, list(now.values()))
    else:
        assert of_state(market.state())[4:6] == (0, 0)


def test_a_cancelled_bar_has_one_revision_more() -> None:
    market = Market()
    first = Print(START, 10.0, Decimal("0.467"), b"a")
    market.apply(first.tick(), Print(START + S // 2, 99.0, Decimal(1), b"b").tick())
    market.apply(Print(START + 30 * S, 10.5, Decimal("1.5"), b"c").tick())
    (bar, _) = market.bars("1s")
    assert (bar.candle.high, bar.state.name, bar.revision) == (99.0, "FINAL", 0)
    before = market.state().sequence
    applied = market.apply(Tick(symbol="BTC-USD", trade_id=b"b", action=TICK_ACTION_CANCEL))
    assert applied.accepted == 1
    (bar, _) = market.bars("1s")
    assert (bar.candle.high, bar.state.name, bar.revision) == (10.0, "REVISED", 1)
    state = market.state()
    assert (state.high, state.sequence) == (10.5, before + 1)
    assert (state.volume, state.volume_decimals) == (1967, 3)


def test_trades_after_an_amendment_count_as_before() -> None:
    market = Market()
    prints = [
        Print(START + n * S // 10, 10.0 + n, Decimal(n + 1) / 4, b"%d" % n) for n in range(40)
    ]
    market.apply(*(each.tick() for each in prints[:25]))
    market.apply(prints[24].tick(TICK_ACTION_CANCEL))
    market.apply(*(each.tick() for each in prints[25:]))
    check(market, [*prints[:24], *prints[25:]])


def test_an_amendment_after_the_revise_window_is_refused_by_name() -> None:
    market = Market(revise_s=60)
    market.apply(Print(START, 10.0, Decimal(1), b"a").tick())
    market.apply(Print(START + 61 * S, 10.0, Decimal(1), b"b").tick())
    applied = market.apply(Print(START, 10.0, Decimal(1), b"a").tick(TICK_ACTION_CANCEL))
    assert [reason for _, reason in applied.rejections] == [RejectReason.TOO_LATE_TO_AMEND]
    assert market.state().trades == 2


def test_a_bar_that_cannot_be_made_again_is_not_changed() -> None:
    market = Market(max_trade_ids=2)
    for number, price in enumerate((10.0, 12.0, 11.0)):
        market.apply(Print(START + number, price, Decimal(1), b"%d" % number).tick())
    # The trade without which another one is the highest; the first one is forgotten.
    applied = market.apply(Print(START + 1, 12.0, Decimal(1), b"1").tick(TICK_ACTION_CANCEL))
    assert [reason for _, reason in applied.rejections] == [RejectReason.NOT_AMENDABLE]
    state = market.state()
    assert (state.high, state.trades, state.volume) == (12.0, 3, 3)
    # One that decides no price needs no other.
    market.apply(Print(START + 3, 11.5, Decimal(1), b"3").tick())
    market.apply(Print(START + 4, 11.0, Decimal(1), b"4").tick())
    applied = market.apply(Print(START + 3, 11.5, Decimal(1), b"3").tick(TICK_ACTION_CANCEL))
    assert applied.rejections == []
    assert (market.state().trades, market.state().volume) == (4, 4)


def test_of_many_ids_the_newest_are_remembered() -> None:
    market = Market(max_trade_ids=64)
    ids = [b"%d" % n for n in range(500)] + [b"a much longer id of %d" % n for n in range(500)]
    for number, trade_id in enumerate(ids):
        trade = Print(START + number, 10.0, Decimal(1), trade_id).tick()
        assert market.apply(trade).accepted == 1
        for back in (0, 40, 63):
            if number >= back:
                again = Print(START, 10.0, Decimal(1), ids[number - back]).tick()
                assert market.apply(again).duplicates == 1
    assert market.apply(Print(START, 10.0, Decimal(1), ids[0]).tick()).accepted == 1
    assert len(market.book.memory) == 64


@pytest.mark.parametrize("length", [*range(1, 34), 64])
def test_ids_that_differ_in_one_byte_are_two_trades(length: int) -> None:
    market = Market()
    for position in range(length):
        trade_id = bytes(1 if at == position else 0 for at in range(length))
        trade = Print(START, 10.0, Decimal(1), trade_id).tick()
        assert market.apply(trade).accepted == 1
        assert market.apply(trade).duplicates == 1
    assert market.state().trades == length


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"volume_decimals": 19}, RejectReason.VOLUME_DECIMALS_TOO_LARGE),
        ({"trade_id": bytes(65)}, RejectReason.TRADE_ID_TOO_LONG),
        ({"excludes": 16}, RejectReason.INVALID_EXCLUDES),
        ({"action": 3, "trade_id": b"a"}, RejectReason.INVALID_ACTION),
        ({"action": 1}, RejectReason.MISSING_TRADE_ID),
        ({"action": 1, "trade_id": b"a"}, RejectReason.UNKNOWN_TRADE_ID),
        ({"volume": 0}, RejectReason.VOLUME_NOT_POSITIVE),
        ({"price": -1.0}, RejectReason.PRICE_NOT_POSITIVE),
        ({"volume": 2**62}, RejectReason.VOLUME_TOO_LARGE),
    ],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_what_is_wrong_is_refused_by_its_name(
    change: dict[str, object], reason: str, is_known: bool
) -> None:
    market = Market()
    if is_known:
        market.apply(Print(START, 10.0, Decimal("0.1"), b"x").tick())
    tick = Print(START, 10.0, Decimal(1)).tick()
    for name, value in change.items():
        setattr(tick, name, value)
    applied = market.apply(tick, Print(START, 11.0, Decimal("2.5"), b"y").tick())
    assert [each for _, each in applied.rejections] == [reason]
    assert applied.accepted == 1
    assert market.state().high == 11.0


def test_an_index_has_values_without_a_volume() -> None:
    market = Market()
    tick = Print(START, 5000.25, Decimal(0), excludes=EXCLUDE_VOLUME).tick()
    market.apply(tick)
    state = market.state()
    assert (state.open, state.close, state.volume, state.trades) == (5000.25, 5000.25, 0, 1)
    assert isnan(state.vwap)


def test_negative_prices_count_where_the_sender_allows_them() -> None:
    market = Market()
    prints = [Print(START + n * S, price, Decimal(2)) for n, price in enumerate((1.5, 0.0, -37.63))]
    applied = market.apply(*(each.tick() for each in prints), any_price=True)
    assert (applied.accepted, applied.rejections) == (3, [])
    check(market, prints)
    assert market.apply(prints[-1].tick()).accepted == 0


def test_a_scale_that_does_not_fit_the_total_is_refused() -> None:
    market = Market()
    market.apply(Print(START, 10.0, Decimal(10**12)).tick())
    applied = market.apply(Print(START, 10.0, Decimal("0.00000001")).tick())
    assert [reason for _, reason in applied.rejections] == [RejectReason.TOTAL_OVERFLOW]
    assert (market.state().volume, market.state().volume_decimals) == (10**12, 0)
    assert market.apply(Print(START, 10.0, Decimal("0.000001")).tick()).accepted == 1
    assert market.state().volume == 10**18 + 1


def test_zeros_at_the_end_need_no_decimals() -> None:
    market = Market()
    tick = Tick(
        symbol="BTC-USD",
        price=1.0,
        volume=2_700_000_000,
        volume_decimals=8,
        exchange_timestamp=START,
    )
    market.apply(tick)
    assert (market.state().volume, market.state().volume_decimals) == (27, 0)


def test_a_saved_memory_knows_the_same_trades() -> None:
    first, second = Market(max_trade_ids=8), Market(max_trade_ids=8)
    for number in range(13):
        first.apply(Print(START + number, 10.0, Decimal(1), b"%d" % number).tick())
    second.book.load_state(first.book.dump_state())
    for market in (first, second):
        again = Print(START, 10.0, Decimal(1), b"5").tick()
        assert market.apply(again).duplicates == 1
        assert market.apply(Print(START, 10.0, Decimal(1), b"4").tick()).accepted == 1
        assert market.apply(Print(START, 10.0, Decimal(1), b"5").tick()).accepted == 1
    assert of_state(first.state()) == of_state(second.state())


def test_a_bar_without_a_trade_that_came_too_late_is_not_made_of_it() -> None:
    market = Market(revise_s=60)
    hour = START + 3600 * S
    # In the hour's bar, which closes; the last one comes too late for it.
    market.apply(Print(hour - 50 * S, 10.0, Decimal(1), b"a").tick())
    market.apply(Print(hour - 20 * S, 12.0, Decimal(1), b"b").tick())
    market.apply(Print(hour + 30 * S, 11.0, Decimal(1), b"c").tick())
    market.apply(Print(hour - 40 * S, 11.5, Decimal(1), b"d").tick())
    applied = market.apply(Print(hour - 20 * S, 1.0, Decimal(1), b"b").tick(TICK_ACTION_CANCEL))
    assert [reason for _, reason in applied.rejections] == [RejectReason.NOT_AMENDABLE]
    (bar, *_) = market.bars("1h")
    assert (bar.candle.high, bar.candle.trades) == (12.0, 2)


def test_what_is_remembered_outlives_another_limit() -> None:
    market = Market(max_trade_ids=10)
    for number in range(25):
        market.apply(Print(START + number, 10.0, Decimal(1), b"%d" % number).tick())
    market.book.memory.limit(4)
    market.book.memory.limit(50)
    for number, is_known in ((20, False), (21, True), (24, True)):
        again = Print(START, 10.0, Decimal(1), b"%d" % number).tick()
        assert market.apply(again).duplicates == is_known
