"""Put bars into the intervals without a trade: fillers, which repeat the last close."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from aggregator.bars.bar import Coverage
from aggregator.history.query import MAX_FILL_INTERVALS, InvalidBars
from aggregator.sessions.periods import Periods
from marketdata.intervals import Interval, IntervalKind
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire

# Between two trading days that do not touch; no day is shorter.
_DAY_STEP_NS = 3600 * NS_PER_S


class Bounds(Protocol):
    """A trading day: start <= time < end."""

    @property
    def start(self) -> int:
        """Return when it starts."""

    @property
    def end(self) -> int:
        """Return when it ends."""


class Hours(Protocol):
    """How time is divided for a symbol."""

    def day(self, ts_ns: int, /) -> Bounds | None:
        """Return the bounds of the daily bar, None between two days."""

    def phase(self, ts_ns: int, /) -> str:
        """Return the part of the trading day, "" where there is no calendar."""


class Filler:
    """Put fillers between the bars of one symbol and interval.

    Args:
        interval: of the bars; one by the clock.
        hours: of the symbol.
        coverage: how much of start <= time < end had a feed.
        refused: how many ticks of start <= time < end were refused.
        periods: of a long interval.
    """

    def __init__(
        self,
        interval: Interval,
        hours: Hours,
        coverage: Callable[[int, int], Coverage],
        refused: Callable[[int, int], int] = lambda _start, _end: 0,
        periods: Periods | None = None,
    ) -> None:
        self._periods = periods
        self._interval = interval
        self._hours = hours
        self._coverage = coverage
        self._refused = refused
        self._visited = 0

    def fill(
        self, bars: Iterable[wire.Bar], before: wire.Bar | None, after_ns: int
    ) -> Iterator[wire.Bar]:
        """Return ``bars`` with fillers between them, and between ``before`` and the first.

        Args:
            bars: by start.
            before: the bar before the first, None if there is none.
            after_ns: fillers after ``before`` are left out unless they start later than this.

        Raises:
            InvalidBars: there are too many intervals between the bars.
        """
        for bar in bars:
            if before is not None:
                for start, end in self._between(before.end, bar.start):
                    if start > after_ns:
                        yield self._filler(before, start, end)
            yield bar
            before = bar

    def fill_last(self, bars: Sequence[wire.Bar], limit: int) -> list[wire.Bar]:
        """Return the last ``limit`` of ``bars`` and the fillers between them.

        Raises:
            InvalidBars: there are too many intervals between the bars.
        """
        found: list[wire.Bar] = []
        for before, bar in zip(reversed([None, *bars][:-1]), reversed(bars), strict=True):
            found.append(bar)
            if before is not None:
                gap = self._back_from(bar.start, before.end)
                found += (self._filler(before, *bounds) for bounds in islice(gap, limit))
            if len(found) >= limit:
                break
        found.reverse()
        return found[-limit:]

    def _back_from(self, end: int, start: int) -> Iterator[tuple[int, int]]:
        # As _between, but from the end.
        if self._periods is not None:
            yield from self._periods_before(self._periods, end, start)
            return
        is_day, size = self._interval.kind is IntervalKind.DAY, self._interval.size
        while end > start:
            self._visit()
            if is_day:
                day = self._hours.day(end - 1)
                if day is None:
                    end -= _DAY_STEP_NS
                    continue
                if day.end <= end:
                    yield day.start, day.end
                end = day.start
            else:
                end -= size
                if self._hours.phase(end) != "closed":
                    yield end, end + size

    def _between(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        # With a calendar, only the hours of trading.
        if self._periods is not None:
            yield from self._periods_between(self._periods, start, end)
            return
        if self._interval.kind is IntervalKind.DAY:
            yield from self._days_between(start, end)
            return
        size, phase = self._interval.size, self._hours.phase
        while start < end:
            self._visit()
            if phase(start) != "closed":
                yield start, start + size
            start += size

    def _days_between(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        while start < end:
            self._visit()
            day = self._hours.day(start)
            if day is None:
                start += _DAY_STEP_NS
            else:
                if day.start < end:
                    yield day.start, day.end
                start = day.end

    def _periods_between(self, periods: Periods, start: int, end: int) -> Iterator[tuple[int, int]]:
        last = periods.dates(end)
        for dates in periods.after(periods.dates(start - 1)):
            self._visit()
            if dates >= last:
                return
            # None of a period without a trading day.
            yield from filter(None, [periods.bounds(dates)])

    def _periods_before(self, periods: Periods, end: int, start: int) -> Iterator[tuple[int, int]]:
        last = periods.dates(start - 1)
        for dates in periods.before(periods.dates(end)):
            self._visit()
            if dates <= last:
                return
            yield from filter(None, [periods.bounds(dates)])

    def _visit(self) -> None:
        self._visited += 1
        if self._visited > MAX_FILL_INTERVALS:
            raise InvalidBars("fill", f"of more than {MAX_FILL_INTERVALS} intervals")

    def _filler(self, before: wire.Bar, start: int, end: int) -> wire.Bar:
        coverage = self._coverage(start, end)
        refused = self._refused(start, end)
        filler = wire.FILLER_NO_TRADES
        if refused:
            filler = wire.FILLER_REFUSED
        elif coverage is Coverage.NO_FEED:
            filler = wire.FILLER_NO_FEED
        close = before.close
        return wire.Bar(
            symbol=before.symbol,
            interval=before.interval,
            start=start,
            end=end,
            open=close,
            high=close,
            low=close,
            close=close,
            vwap=close,
            state=wire.BAR_STATE_FINAL,
            coverage=coverage.value,
            refused=refused,
            filler=filler,
            # A whole day has no phase.
            phase=self._hours.phase(start) if self._interval.kind is IntervalKind.TIME else "",
        )
