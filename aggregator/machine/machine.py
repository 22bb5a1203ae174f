"""The one place that changes the state: the same inputs make the same state, bit for bit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aggregator.coverage.feed import Feed
from aggregator.coverage.feeds import Feeds
from aggregator.machine.inputs import (
    Batch,
    Clock,
    FeedClosed,
    FeedOpened,
    Input,
    Start,
    Watch,
    WatchEnded,
    read_start,
)
from aggregator.market import Market
from aggregator.producers.numbering import InvalidBatch
from aggregator.watch.streams import WatchStreams
from marketdata.wire.market_data_pb2 import BatchAck

# The ack of a batch; of a clock, whether it closed everything that was due; of others nothing.
Result = BatchAck | bool | None


class Machine:
    """Apply inputs in their order: live, after a restart, and in a replay.

    Only inputs change the state: no clock, no chance, no reader.

    Args:
        market: the ticks, states and bars.
        feeds: the times with a feed.
        watches: what the Watch streams want.
    """

    def __init__(self, market: Market, feeds: Feeds, watches: WatchStreams) -> None:
        self.market = market
        # Says what position the bars and states of an input have.
        self._output = market.book.engine.output
        self.feeds = feeds
        self.watches = watches
        # The feeds of the open streams of ticks.
        self.streams: dict[int, Feed] = {}
        # Those that sent an invalid batch.
        self.failed: set[int] = set()
        # Of the newest input: its place in the order of inputs, and its time.
        self.position = -1
        self.last_ns = 0
        # The newest start, None before the first.
        self.started: Start | None = None

    def begin(self, start: Start) -> None:
        """Begin a history with a state that does not come from inputs; the start comes next."""
        self.started = start
        self.position = self._output.position = start.began_at - 1

    def apply(self, each: Input, position: int, time_ns: int) -> Result:
        """Apply one input and return what it says.

        Args:
            each: the input.
            position: its place in the order of inputs, which grows.
            time_ns: when it came.

        Raises:
            DecodeError: a message does not parse; nothing has changed.
            InvalidBatch: the producer id or the sequences are invalid; nothing has changed.
        """
        self.position = self._output.position = position
        before_ns, self.last_ns = self.last_ns, time_ns
        if type(each) is Batch:
            return self._apply_batch(each, time_ns)
        return self._apply_other(each, time_ns, before_ns)

    def _apply_batch(self, batch: Batch, time_ns: int) -> Result:
        if batch.stream in self.failed:
            raise InvalidBatch("an earlier batch of the stream was invalid")
        try:
            return self.market.publish_batch(batch.data, time_ns, self.streams.get(batch.stream))
        except Exception:
            # The stream ends. What its producer sent before it knew, it sends again.
            self.failed.add(batch.stream)
            raise

    def _apply_other(self, each: Input, time_ns: int, before_ns: int) -> Result:
        match each:
            case Clock():
                return self.market.book.engine.close_due(time_ns, each.max_symbols)
            case FeedOpened():
                self.streams[each.stream] = self.feeds.open(time_ns, each.stream)
            case FeedClosed():
                self.failed.discard(each.stream)
                feed = self.streams.pop(each.stream, None)
                if feed is not None:
                    feed.close(time_ns)
            case Watch():
                self.watches.apply(each.stream, each.data)
            case WatchEnded():
                self.watches.end(each.stream)
            case Start():
                self._start(each, time_ns, before_ns)
        return None

    def _start(self, start: Start, time_ns: int, before_ns: int) -> None:
        begins = start.began_at == self.position
        if not begins:
            # Of the time after the last input of the process before, nothing is known.
            for feed in self.streams.values():
                feed.close(before_ns)
            self.streams.clear()
            self.failed.clear()
            self.feeds.restore(self.feeds.marks(self.market.last_sequences()))
        self.feeds.start(time_ns)
        self.market.start(start.epoch, time_ns, begins=begins)
        self.market.limit(start.limits)
        self.started = start

    def dump_state(self) -> dict[str, Any]:
        """Return what the market and the feeds do not have."""
        return {
            "position": self.position,
            "last_ns": self.last_ns,
            "failed": sorted(self.failed),
            "started": asdict(self.started) if self.started else None,
            "watches": self.watches.dump_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another machine was, after the market and the feeds."""
        self.position = self._output.position = state["position"]
        self.last_ns = state["last_ns"]
        self.failed = set(state["failed"])
        self.started = read_start(state["started"]) if state["started"] else None
        if self.started is not None:
            self.market.limit(self.started.limits)
        self.streams = {feed.number: feed for feed in self.feeds.open_feeds()}
        self.watches.load_state(state["watches"])
