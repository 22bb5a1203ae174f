"""The aggregator's side of Watch streams without a network, and a reader that comes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.bars.published import PublishedBars
from aggregator.book import Book
from aggregator.checkpoint.format import decode, encode
from aggregator.market import Market
from aggregator.producers.producers import Producers
from aggregator.sessions.sessions import UtcDay
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.recent import DEFAULT_MAX_BYTES, Recent
from aggregator.watch.streams import Moved, WatchStreams, watcher_id
from aggregator.watch.watcher import Watcher
from aggregator.watch.watchers import Watchers
from marketdata.wire import market_data_pb2 as wire

EPOCH = 7
EVERYTHING = wire.WatchRequest(
    buffer=1_000, all=True, add_bars=[wire.BarTopic(symbol="*", interval="1s")]
)
# The symbol, start and revision of a closed bar; the end of a completed interval.
Closed = tuple[str, int, int]


class Side:
    """A market and its Watch streams; the same inputs make the same again."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        engine = BarEngine(BarPlan(intervals=parse_intervals("1s")), lambda _symbol: UtcDay())
        self.recent = Recent(max_bytes, lambda: engine.output.position)
        self.bars = BarWatchers(engine.series, 100, 10_000, self.recent)
        engine.output.listener = self
        self.book = Book(engine, max_symbols=100, epoch=EPOCH)
        self.watchers = Watchers(100, self.book, self.bars)
        self.market = Market(self.book, Producers(10), self.watchers.notify, 60)
        self.streams = WatchStreams(self.book, self.watchers)
        # What was published.
        self.closed: list[Closed] = []
        self.completed: list[int] = []

    @property
    def position(self) -> int:
        return self.book.engine.output.position

    # Inputs.

    def trade(self, ticks: Sequence[wire.Tick], now_ns: int) -> None:
        self._begin_input()
        self.market.publish_batch(wire.TickBatch(ticks=ticks).SerializeToString(), now_ns)

    def close_due(self, now_ns: int) -> None:
        self._begin_input()
        self.book.engine.close_due(now_ns, 1_000)

    def watch(self, stream: int, request: wire.WatchRequest) -> None:
        self._begin_input()
        self.streams.apply(stream, request.SerializeToString())

    def end(self, stream: int) -> None:
        self._begin_input()
        self.streams.end(stream)

    def _begin_input(self) -> None:
        self.book.engine.output.position += 1

    def restore_streams(self) -> None:
        """Let the streams be those of another process, from a checkpoint."""
        state = decode(b"".join(encode(self.streams.dump_state(), "1")))
        for stream in self.streams:
            self.streams.end(stream)
        self.streams.load_state(state)

    # What the engine tells.

    def opened(self, symbol: str, row: int) -> Iterable[int]:
        return self.bars.opened(symbol, row)

    def partials_changed(self, series: NDArray[np.int64]) -> None:
        self.bars.partials_changed(series)

    def bars_published(self, bars: PublishedBars) -> None:
        self.closed += [closed for each in bars if (closed := closed_bar(read_message(each.wire)))]
        self.bars.bars_published(bars)

    def interval_completed(self, interval: str, end: int) -> None:
        self.completed.append(end)
        self.bars.interval_completed(interval, end)


def read_message(record: bytes) -> wire.Bar:
    """Return the bar of an encoded record."""
    return wire.UpdateBatch.FromString(record).bars[0]


def closed_bar(bar: wire.Bar) -> Closed | None:
    """Return what tells a closed bar and its revision from others; None: it is not closed."""
    if bar.state not in {wire.BAR_STATE_FINAL, wire.BAR_STATE_REVISED}:
        return None
    return bar.symbol, bar.start, bar.revision


class Reader:
    """Reads a stream as a gateway does, and notes all that it got.

    With ``drops_known`` it leaves out what it has already, as the hub does.
    """

    def __init__(self, *, drops_known: bool) -> None:
        self._drops_known = drops_known
        self.stream = 0
        self.position = 0
        self._watcher: Watcher | None = None
        self._turn = 0
        self.states: dict[str, list[int]] = {}
        self.bars: dict[str, list[int]] = {}
        self.closed: list[Closed] = []
        self.completed: list[int] = []

    @property
    def is_connected(self) -> bool:
        return self._watcher is not None

    @property
    def has_news(self) -> bool:
        watcher = self._watcher
        return watcher is not None and bool(watcher.waiting or len(watcher.bars))

    async def connect(self, side: Side) -> wire.WatchRequest:
        """Open a stream, or resume the last one; return the request, which was applied."""
        own = side.watchers.open()
        stream = side.streams.next_number()
        side.streams.attach(stream, own)
        request = EVERYTHING
        if self.stream:
            name = watcher_id(self.stream)
            resume = wire.WatchResume(epoch=EPOCH, watcher_id=name, position=self.position)
            request = wire.WatchRequest(resume=resume)
        side.watch(stream, request)
        if self.stream:
            try:
                await own.next_updates(1, 1)
            except Moved as exc:
                own = exc.watcher
        self.stream, self._watcher, self._turn = stream, own, own.turn
        return request

    async def read(self, max_states: int, max_bars: int, *, is_lost: bool = False) -> None:
        """Take what is there; ``is_lost``: it does not arrive."""
        assert self._watcher is not None
        if not self.has_news and self._turn == self._watcher.turn:
            return
        updates = await self._watcher.next_updates(max_states, max_bars, self._turn)
        if is_lost:
            return
        for record in updates.states:
            (state,) = wire.UpdateBatch.FromString(record).updates
            self._note(self.states, state.symbol, state.sequence)
        for bar in wire.UpdateBatch.FromString(b"".join(updates.bars)).bars:
            closed = closed_bar(bar)
            if self._note(self.bars, bar.symbol, bar.sequence) and closed:
                self.closed.append(closed)
        for completed in updates.completed:
            if not (self._drops_known and completed.end in self.completed[-1:]):
                self.completed.append(completed.end)
        self.position = updates.position

    def lose(self, side: Side | None) -> None:
        """Lose the stream; None: because its aggregator is gone."""
        self._watcher = None
        if side is not None:
            side.streams.hold(self.stream)

    # Returns whether the reader keeps it.
    def _note(self, noted: dict[str, list[int]], symbol: str, sequence: int) -> bool:
        own = noted.setdefault(symbol, [])
        if self._drops_known and own and sequence <= own[-1]:
            return False
        own.append(sequence)
        return True
