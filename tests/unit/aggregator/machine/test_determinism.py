"""The same records make the same state and publish the same, whoever reads in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregator.bars.published import PublishedBars
from aggregator.checkpoint.state import dump, load
from aggregator.core import Core
from aggregator.machine.inputs import (
    Batch,
    Clock,
    FeedClosed,
    FeedOpened,
    Input,
    Watch,
    WatchEnded,
    parse_input,
)
from aggregator.producers.numbering import InvalidBatch
from aggregator.runs.lifetime import Lifetime
from aggregator.settings import AggregatorSettings
from aggregator.watch.bar_watchers import BarWatchers
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import (
    BarsRequest,
    BarTopic,
    FeedReport,
    Refusal,
    TickBatch,
    WatchRequest,
)
from tests.doubles.memory_log import MemoryLog
from tests.doubles.random_ticks import START, SYMBOLS, late, odd, usual

INTERVALS = ("1s", "1m", "3t")
STREAMS = (1, 2)


class Recorder:
    """Keeps what the engine publishes, on its way to the watchers."""

    def __init__(self, core: Core) -> None:
        output = core.market.book.engine.output
        watchers = output.listener
        assert isinstance(watchers, BarWatchers)
        self._watchers, self._core = watchers, core
        output.listener = self
        self.seen: list[Any] = []

    def opened(self, symbol: str, row: int) -> Iterable[int]:
        return self._watchers.opened(symbol, row)

    def partials_changed(self, series: NDArray[np.int64]) -> None:
        self.seen.append(self._watchers.bars.partials(series))
        self._watchers.partials_changed(series)

    def bars_published(self, bars: PublishedBars) -> None:
        self.seen.append(list(bars))
        self._watchers.bars_published(bars)

    def interval_completed(self, interval: str, end: int) -> None:
        self.seen.append((interval, end))
        self._watchers.interval_completed(interval, end)


def make_core(clock: Callable[[], int]) -> tuple[Core, Recorder]:
    core = Core(
        AggregatorSettings(store="off", bars=",".join(INTERVALS), max_symbols=5, max_producers=3),
        clock,
        lambda _works: None,
    )
    return core, Recorder(core)


def state_of(core: Core) -> bytes:
    return b"".join(map(bytes, dump(core.state)))


def present(core: Core) -> list[bytes]:
    """Return the states that readers see."""
    book = core.market.book
    return book.states(
        [row for symbol in sorted(book.symbols()) if (row := book.row(symbol)) is not None]
    )


batches = st.builds(
    TickBatch,
    producer_id=st.sampled_from(["", "p", "q", "r", "s", "x" * 65]),
    first_sequence=st.integers(0, 40),
    ticks=st.lists(st.one_of(usual, usual, late, odd).filter(lambda tick: True), max_size=12),
    feed=st.one_of(
        st.none(),
        st.builds(FeedReport, producers=st.integers(0, 2), since=st.sampled_from([0, START])),
    ),
    refusals=st.lists(
        st.builds(Refusal, symbol=st.sampled_from(SYMBOLS), exchange_timestamp=st.just(START)),
        max_size=2,
    ),
).map(TickBatch.SerializeToString)
requests = st.builds(
    WatchRequest,
    add=st.lists(st.sampled_from(SYMBOLS), max_size=2),
    buffer=st.sampled_from([0, 5, 100]),
    buffer_all=st.sampled_from([None, False, True]),
    add_buffered=st.lists(st.sampled_from(SYMBOLS), max_size=2),
    remove_buffered=st.lists(st.sampled_from(SYMBOLS), max_size=1),
    add_bars=st.lists(
        st.builds(
            BarTopic,
            symbol=st.sampled_from([*SYMBOLS[:2], "*"]),
            interval=st.sampled_from([*INTERVALS, "7s"]),
        ),
        max_size=3,
    ),
    remove_bars=st.lists(
        st.builds(
            BarTopic,
            symbol=st.sampled_from([*SYMBOLS[:2], "*"]),
            interval=st.sampled_from(INTERVALS),
        ),
        max_size=2,
    ),
).map(WatchRequest.SerializeToString)
streams = st.sampled_from(STREAMS)
inputs: st.SearchStrategy[Input | str] = st.one_of(
    st.builds(Batch, streams, st.one_of(batches, batches, batches, st.binary(max_size=9))),
    st.builds(Batch, streams, batches),
    st.builds(Clock, st.sampled_from([1, 1_000])),
    st.builds(FeedOpened, streams),
    st.builds(FeedClosed, streams),
    st.builds(Watch, streams, st.one_of(requests, requests, st.binary(max_size=9))),
    st.builds(WatchEnded, streams),
    st.just("read"),
    st.just("restart"),
)


class Live:
    """A core that logs, with the readers that it has, and others that it is restarted as."""

    def __init__(self) -> None:
        self.now_ns = START + 3 * NS_PER_S
        self.log = MemoryLog()
        self.core, self.recorder = make_core(lambda: self.now_ns)
        self.seen: list[Any] = []

    async def begin(self) -> None:
        await Lifetime(self.core).restore(self.log)

    async def read(self) -> None:
        """Read whatever there is."""
        present(self.core)
        for symbol in SYMBOLS[:2]:
            for interval in INTERVALS:
                asked = BarsRequest(symbol=symbol, interval=interval, include_partial=True)
                await self.core.service._bars.read(asked)

    async def restart(self) -> None:
        """Go on in another process, which loads a checkpoint or not."""
        await self.core.journal.settle()
        self.seen += self.recorder.seen
        self.log = MemoryLog(self.log)
        replayed = len(self.recorder.seen)
        self.core, self.recorder = make_core(lambda: self.now_ns)
        await self.begin()
        # What the process before published was published again, and nothing else.
        assert self.recorder.seen == self.seen, replayed
        self.recorder.seen = []


@settings(max_examples=60)
@given(st.lists(st.tuples(inputs, st.integers(0, NS_PER_S)), max_size=40), st.integers(0, 40))
def test_the_records_alone_make_the_state_and_all_that_is_published(
    steps: list[tuple[Input | str, int]], checkpoint: int
) -> None:
    asyncio.run(check(steps, checkpoint))


async def check(steps: list[tuple[Input | str, int]], checkpoint: int) -> None:
    live = Live()
    await live.begin()
    for each, passed_ns in steps:
        live.now_ns += passed_ns
        if each == "read":
            await live.core.journal.settle()
            await live.read()
        elif each == "restart":
            await live.restart()
        else:
            assert not isinstance(each, str)
            live.core.journal.submit(each)
    await live.core.journal.settle()
    await live.read()
    published = live.seen + live.recorder.seen
    records = list(live.log.read_from(0))
    other, recorder = make_core(lambda: 0)
    for record in records:
        if record.offset == checkpoint:
            # Another core goes on from the state so far.
            saved = state_of(other)
            seen = recorder.seen
            other, recorder = make_core(lambda: 0)
            load(saved, other.state)
            recorder.seen = seen
            assert state_of(other) == saved
        each = parse_input(record.kind, record.payload)
        with suppress(DecodeError, InvalidBatch):
            other.machine.apply(each, record.offset, record.time_ns)
    assert recorder.seen == published
    assert state_of(other) == state_of(live.core)
    assert present(other) == present(live.core)
