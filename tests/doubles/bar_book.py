"""The bars of an aggregator that has no ticks: what is published can be read."""

from __future__ import annotations

from typing import Any

from marketdata.intervals import parse_interval
from marketdata.wire import market_data_pb2 as wire

MAX_LIMIT = 10_000
DEFAULT_LIMIT = 1000

PARTIAL, EARLY = wire.BAR_STATE_PARTIAL, wire.BAR_STATE_EARLY
FINAL, REVISED = wire.BAR_STATE_FINAL, wire.BAR_STATE_REVISED


class Refused(Exception):
    """A question that the aggregator answers with INVALID_ARGUMENT."""


class BarBook:
    """Every bar's newest state, with the sequences of an aggregator.

    ::

        bar = book.publish("AAPL", "1m", start, state=FINAL, close=151.5)
        book.read(wire.BarsRequest(symbol="AAPL", interval="1m"))
        book.restart()      # a new epoch, which knows the closed bars

    """

    def __init__(
        self, intervals: tuple[str, ...] = ("1s", "1m", "5m", "1d"), epoch: int = 7
    ) -> None:
        self.intervals = intervals
        self.epoch = epoch
        self._bars: dict[tuple[str, str], dict[tuple[int, int], wire.Bar]] = {}
        self._sequences: dict[tuple[str, str], int] = {}

    def publish(self, symbol: str, interval: str, start: int, **fields: Any) -> wire.Bar:
        """Take in the next state of a bar; return it."""
        topic = symbol, interval
        self._sequences[topic] = sequence = self._sequences.get(topic, 0) + 1
        values = {
            "open": 1.0,
            "high": 1.0,
            "low": 1.0,
            "close": 1.0,
            "vwap": 1.0,
            "volume": 1,
            "trades": 1,
            "state": PARTIAL,
            "coverage": wire.COVERAGE_FULL,
            "end": start + parse_interval(interval).nominal_ns,
            **fields,
        }
        bar = wire.Bar(
            symbol=symbol,
            interval=interval,
            start=start,
            sequence=sequence,
            epoch=self.epoch,
            **values,
        )
        self._bars.setdefault(topic, {})[start, bar.number] = bar
        return bar

    def open_bars(self, symbol: str, interval: str) -> list[wire.Bar]:
        """Return what a new Watch of the topic begins with."""
        bars = self._bars.get((symbol, interval), {}).values()
        still_open = [bar for bar in bars if bar.state in {PARTIAL, EARLY}]
        return sorted(still_open, key=lambda bar: bar.sequence)

    def symbols(self, interval: str) -> list[str]:
        return [symbol for symbol, each in self._bars if each == interval]

    def sequence(self, symbol: str, interval: str) -> int:
        return self._sequences.get((symbol, interval), 0)

    def forget_closed(self) -> None:
        """Know the closed bars from the store alone, which has no sequences."""
        for bars in self._bars.values():
            for key, bar in bars.items():
                if bar.state in {FINAL, REVISED}:
                    # Others have the one that was published.
                    bars[key] = own = wire.Bar()
                    own.CopyFrom(bar)
                    own.epoch = own.sequence = 0

    def restart(self) -> None:
        """Begin a new epoch: closed bars are in the store, open ones are gone."""
        self.epoch += 1
        self._sequences.clear()
        for bars in self._bars.values():
            for key, bar in list(bars.items()):
                if bar.state in {PARTIAL, EARLY}:
                    del bars[key]
                else:
                    bar.epoch = bar.sequence = 0

    def read(self, request: wire.BarsRequest) -> wire.BarsResponse:
        """Answer as the contract says.

        Raises:
            Refused: a field cannot be used.
        """
        if request.interval not in self.intervals:
            valid = " ".join(self.intervals)
            raise Refused(f"interval {request.interval!r} is not one of {valid}")
        if request.limit > MAX_LIMIT:
            raise Refused(f"limit {request.limit} is over {MAX_LIMIT}")
        low = getattr(request, "from") if request.HasField("from") else None
        high = request.to if request.HasField("to") else None
        if low is not None and high is not None and low >= high:
            raise Refused(f"from {low} is not before to, {high}")
        bars = [
            bar
            for _, bar in sorted(self._bars.get((request.symbol, request.interval), {}).items())
            if (low is None or bar.start >= low)
            and (high is None or bar.start < high)
            and (request.include_partial or bar.state in {FINAL, REVISED})
        ]
        if request.fill == wire.FILL_ALL:
            bars = self._filled(bars)
        limit = request.limit or DEFAULT_LIMIT
        if request.cursor:
            after = _parse_cursor(request.cursor)
            bars = [bar for bar in bars if (bar.start, bar.number) > after]
        elif low is None:
            bars = bars[-limit:]
        page = bars[:limit]
        more = len(page) < len(bars)
        return wire.BarsResponse(
            bars=page,
            next_cursor=f"c{page[-1].start}.{page[-1].number}" if more else "",
            sequence=self.sequence(request.symbol, request.interval),
            epoch=self.epoch,
        )

    def _filled(self, bars: list[wire.Bar]) -> list[wire.Bar]:
        filled: list[wire.Bar] = []
        for bar in bars:
            while filled and filled[-1].end < bar.start:
                before = filled[-1]
                close = before.close
                filled.append(
                    wire.Bar(
                        symbol=bar.symbol,
                        interval=bar.interval,
                        start=before.end,
                        end=before.end + (bar.end - bar.start),
                        open=close,
                        high=close,
                        low=close,
                        close=close,
                        state=FINAL,
                        coverage=wire.COVERAGE_FULL,
                        filler=wire.FILLER_NO_TRADES,
                        epoch=self.epoch,
                    )
                )
            filled.append(bar)
        return filled


def _parse_cursor(cursor: str) -> tuple[int, int]:
    try:
        start, number = cursor.removeprefix("c").split(".")
        return int(start), int(number)
    except ValueError as exc:
        raise Refused(f"cursor {cursor[:40]!r} is none of ours") from exc
