"""Know the open bars of followed topics: a later subscription begins with them."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.hub.backfill import MAX_OPEN
from gateway.hub.subscription import Subscription
from gateway.hub.updates import ALL, BarTopic, BarUpdate
from marketdata.wire.market_data_pb2 import Bar


class Series:
    """The bars of one interval of one symbol."""

    __slots__ = ("awaiting", "count", "epoch", "open", "sequence", "stream", "unchecked")

    def __init__(self, stream: int, epoch: int, sequence: int) -> None:
        # The last stream that brought something, and the last state it brought.
        self.stream = stream
        self.epoch = epoch
        self.sequence = sequence
        # How many new states without a hole this stream has still to bring, before a hole means
        # skipped open states. It begins with the open bars, whose sequences may have holes.
        self.unchecked = 0
        # How many states this stream has brought.
        self.count = 0
        # The newest state of each, in the order of their sequences.
        self.open: dict[tuple[str, int, int], BarUpdate] = {}
        # Subscriptions from before this stream sent what is open, and the last state each got.
        self.awaiting: dict[Subscription, int] = {}

    @property
    def is_sure(self) -> bool:
        """Whether the newest state was not one of those that the stream began with."""
        return self.count > MAX_OPEN + 1


class Bars:
    """The open bars of every topic that is followed."""

    def __init__(self) -> None:
        self._series: dict[str, dict[str, Series]] = {}
        self._stream = 0

    def begin_stream(self) -> None:
        """Trust nothing to be open until the new stream says so."""
        self._stream += 1

    def begin_epoch(self, epoch: int) -> list[BarTopic]:
        """Forget what was open in an earlier epoch of the aggregator; return the topics."""
        gone = []
        for interval, by_symbol in self._series.items():
            for symbol, series in by_symbol.items():
                if series.epoch != epoch and series.sequence:
                    series.open.clear()
                    # What comes next continues nothing.
                    series.sequence = 0
                    gone.append(BarTopic(interval, symbol))
        return gone

    def admit(self, bar: Bar) -> tuple[BarUpdate, bool]:
        """Take note of a state that came; return it, and whether it is new."""
        by_symbol = self._series.setdefault(bar.interval, {})
        series = by_symbol.get(bar.symbol)
        if series is None:
            series = by_symbol[bar.symbol] = Series(self._stream, bar.epoch, bar.sequence - 1)
        if series.stream != self._stream:
            series.stream = self._stream
            series.unchecked = MAX_OPEN + 1
            series.count = 0
            series.open.clear()
        series.count += 1
        same_epoch = series.epoch == bar.epoch
        is_new = not same_epoch or bar.sequence > series.sequence
        continuous = same_epoch
        if is_new:
            if same_epoch and series.unchecked:
                # Within one stream a hole means open states of a bar that changed again, so
                # nothing is lost. Between two streams it may hide a bar that closed.
                continuous = bar.sequence == series.sequence + 1
                series.unchecked -= 1
            elif not same_epoch:
                series.open.clear()
                series.unchecked = 0
            series.awaiting.clear()
            series.epoch, series.sequence = bar.epoch, bar.sequence
        update = BarUpdate(bar, continuous=continuous, sure=series.is_sure)
        before = series.open.pop(update.key, None)
        if before is not None:
            # Clients that keep up have it, and in the history it would be most of the memory.
            before.shed_forms()
        if not update.closed:
            series.open[update.key] = update
            if len(series.open) > MAX_OPEN:
                del series.open[next(iter(series.open))]
        return update, is_new

    def known(self, topic: BarTopic) -> Iterator[tuple[BarTopic, list[BarUpdate]]]:
        """Yield each symbol of ``topic`` with its open bars."""
        by_symbol = self._series.get(topic.interval, {})
        for symbol in by_symbol if topic.symbol == ALL else (topic.symbol,):
            series = by_symbol.get(symbol)
            if series is not None:
                yield BarTopic(topic.interval, symbol), list(series.open.values())

    def position(self, topic: BarTopic) -> tuple[int, int] | None:
        """Return epoch and sequence of the newest state; None: the stream may still begin."""
        series = self._series[topic.interval][topic.symbol]
        if series.stream != self._stream or not series.is_sure:
            return None
        return series.epoch, series.sequence

    def await_open(self, topic: BarTopic, subscription: Subscription) -> bool:
        """Return whether the stream has still to send the open bars; then they come later."""
        series = self._series[topic.interval][topic.symbol]
        if series.stream == self._stream:
            return False
        series.awaiting[subscription] = 0
        return True

    def take_awaiting(self, update: BarUpdate) -> list[Subscription]:
        """Return the subscriptions that wait for this open bar, which is not new."""
        series = self._series[update.bar.interval][update.symbol]
        waiting = [each for each, last in series.awaiting.items() if last < update.sequence]
        series.awaiting.update(dict.fromkeys(waiting, update.sequence))
        return waiting

    def last(self, topic: BarTopic) -> BarUpdate | None:
        """Return the newest state of a bar that is open."""
        series = self._series.get(topic.interval, {}).get(topic.symbol)
        return next(reversed(series.open.values()), None) if series is not None else None

    def forget(self, topic: BarTopic) -> None:
        """Forget a topic that is not followed any more."""
        self._series.get(topic.interval, {}).pop(topic.symbol, None)

    def symbols(self, interval: str) -> list[str]:
        """Return the symbols of which something is known."""
        return list(self._series.get(interval, ()))
