"""Make bars of weeks, months, years and several days of the daily bars in memory and store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import NamedTuple

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import MAX_INT64, Candle
from aggregator.history.query import DAY, END_OF_TIME, BarQuery, InvalidBars
from aggregator.sessions.periods import Dates, PeriodPlan, Periods
from aggregator.sessions.sessions import Session
from marketdata.intervals import NS_PER_DAY, Interval

# Read at once: 5 ms; then ticks may come in. So many are folded in one turn, too.
_DAYS_AT_ONCE = 1_000
# Besides those that are asked for: bars that are not closed, and one of which days are missing.
_MORE_PERIODS = 4
# The daily bars of a query, by start, and the sequence up to which it has all.
SelectDays = Callable[[BarQuery], Awaitable[tuple[list[Bar], int]]]


@dataclass(frozen=True, slots=True)
class LongRules:
    """What the bars of a period depend on besides its daily bars."""

    plan: PeriodPlan = field(default_factory=PeriodPlan)
    grace_ns: int = 0
    # The time of a symbol; it closes bars.
    time: Callable[[str], int] = lambda _symbol: END_OF_TIME
    # Daily bars from before this time may have been removed.
    kept_from: Callable[[], int] = lambda: 0


class Feed(NamedTuple):
    """What is known of the time without a daily bar."""

    # How much of start <= time < end had a feed.
    coverage: Callable[[int, int], Coverage]
    # How many ticks of start <= time < end were refused.
    refused: Callable[[int, int], int]
    # The same of imported rows, by the start of the day.
    imported: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Period:
    """The daily bars of one period."""

    dates: Dates
    start: int
    end: int
    days: list[Bar]


async def read_periods(
    query: BarQuery, interval: Interval, periods: Periods, select: SelectDays
) -> tuple[list[Period], int]:
    """Return the periods of a query by start, some more than its limit; each has all its days.

    The sequence up to which they have all comes with them.
    """
    slack = 2 * interval.nominal_ns + 7 * NS_PER_DAY
    usual_days = (query.limit + _MORE_PERIODS) * (interval.nominal_ns // NS_PER_DAY + 3)
    at_once = min(usual_days, _DAYS_AT_ONCE)
    days_query = replace(
        query,
        interval=DAY,
        to_ns=min(query.to_ns + slack, END_OF_TIME),
        limit=at_once,
        closed_only=False,
        fill=False,
    )
    all_found: list[Period] = []
    sequence: int | None = None
    while True:
        part, known = await select(days_query)
        sequence = known if sequence is None else sequence
        new = list(_group(periods, part))
        all_found = _join(new, all_found) if query.newest else _join(all_found, new)
        is_all = len(part) < at_once
        found = all_found
        if not is_all:
            # More days of the outermost one may follow.
            found = found[1:] if query.newest else found[:-1]
        found = [each for each in found if _is_asked(query, each)]
        if is_all or len(found) >= query.limit + _MORE_PERIODS:
            return found, sequence
        if query.newest:
            days_query = replace(days_query, to_ns=part[0].start)
        else:
            days_query = replace(days_query, after=(part[-1].start, 0))


def _group(periods: Periods, days: Sequence[Bar]) -> Iterator[Period]:
    period: Period | None = None
    next_start = -1
    for day in days:
        if period is None or day.start >= next_start:
            if period is not None:
                yield period
            dates = periods.dates(day.start)
            start, end = periods.bounds(dates) or (day.start, day.end)
            next_start = periods.start_after(dates)
            period = Period(dates, start, end, [])
        period.days.append(day)
    if period is not None:
        yield period


def _join(before: list[Period], after: list[Period]) -> list[Period]:
    # Two parts may have days of one period.
    if before and after and before[-1].dates == after[0].dates:
        after[0].days[:0] = before[-1].days
        before = before[:-1]
    return before + after


def _is_asked(query: BarQuery, period: Period) -> bool:
    after = -1 if query.after is None else query.after[0]
    return query.from_ns <= period.start < query.to_ns and period.start > after


class LongBars:
    """Make the bars of one symbol and long interval.

    Args:
        interval: of the bars.
        periods: of the interval and the symbol.
        rules: when bars are closed, and what may be missing.
        feed: what is known of the time without a daily bar; None: there is no store, so any day
            may have had one.
    """

    def __init__(
        self, interval: Interval, periods: Periods, rules: LongRules, feed: Feed | None
    ) -> None:
        self._interval = interval
        self._periods = periods
        self._rules = rules
        self._feed = feed

    async def make(self, found: Sequence[Period]) -> list[Bar]:
        """Return the bar of each period; other work goes on while many are made.

        Raises:
            InvalidBars: a total is too large.
        """
        bars: list[Bar] = []
        if not found:
            return bars
        # A later trade moves the symbol's time, also if it was imported.
        newest = found[-1].days[-1]
        reached = max(self._rules.time(newest.symbol), newest.start)
        count = 0
        for period in found:
            bars.append(self._make(period, reached))
            count += len(period.days)
            if count >= _DAYS_AT_ONCE:
                count = 0
                await asyncio.sleep(0)
        return bars

    def _make(self, period: Period, reached: int) -> Bar:
        days = period.days
        missing = list(self._missing(period, min(period.end, reached)))
        return Bar(
            days[0].symbol,
            self._interval.name,
            period.start,
            period.end,
            self._fold(days),
            0,
            self._state(period, reached),
            sum(day.revision for day in days),
            self._coverage(period, missing, reached),
            sum(day.refused for day in days) + sum(map(self._refused, missing)),
            "",
            max(day.sequence for day in days),
        )

    def _fold(self, days: Sequence[Bar]) -> Candle:
        candle = days[0].candle.copy()
        with contextlib.suppress(OverflowError):
            for day in days[1:]:
                candle.merge(day.candle)
            if candle.volume <= MAX_INT64 and isfinite(candle.notional):
                return candle
        raise InvalidBars("interval", f"{self._interval.name} has a total that is too large")

    def _state(self, period: Period, reached: int) -> BarState:
        if reached < period.end or any(day.state is BarState.PARTIAL for day in period.days):
            return BarState.PARTIAL
        if reached < period.end + self._rules.grace_ns:
            return BarState.EARLY
        if not all(day.state.is_closed for day in period.days):
            return BarState.EARLY
        is_revised = any(day.revision for day in period.days)
        return BarState.REVISED if is_revised else BarState.FINAL

    # Gives the trading days without a bar that began before a time.
    def _missing(self, period: Period, end: int) -> Iterator[Session]:
        known = period.start
        for day in period.days:
            if day.start > known:
                yield from self._periods.days(known, day.start)
            known = max(known, day.end)
        if known < end:
            yield from self._periods.days(known, end)

    def _coverage(self, period: Period, missing: Sequence[Session], reached: int) -> Coverage:
        found = {day.coverage for day in period.days}
        if period.start < self._rules.kept_from():
            found.add(Coverage.PARTIAL)
        for day in missing:
            closes = min(day.closes, reached)
            if self._feed is None:
                found.add(Coverage.PARTIAL)
            elif day.opens < closes:
                found.add(self._feed.coverage(day.opens, closes))
        return found.pop() if len(found) == 1 else Coverage.PARTIAL

    def _refused(self, day: Session) -> int:
        if self._feed is None:
            return 0
        return self._feed.refused(day.start, day.end) + self._feed.imported.get(day.start, 0)
