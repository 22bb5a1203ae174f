"""A reader whose Watch stream is lost goes on without a hole and without a repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.watch.holding import Holding
from aggregator.watch.streams import CannotResume, watcher_id
from aggregator.watch.watcher import TakenOver
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.watch_side import EPOCH, EVERYTHING, Reader, Side

# The number of another stream.
OTHER = 999
NOW = 1_700_000_000 * NS_PER_S


def tick(symbol: str, ts_ns: int) -> wire.Tick:
    return wire.Tick(symbol=symbol, price=10, volume=1, exchange_timestamp=ts_ns)


class Run:
    """A side, its inputs so far, and a reader of everything."""

    def __init__(self, *, drops_known: bool) -> None:
        self.side = Side()
        self.inputs: list[Callable[[Side], None]] = []
        self.reader = Reader(drops_known=drops_known)
        self.now = NOW
        self.published: dict[str, int] = {}

    def apply(self, each: Callable[[Side], None]) -> None:
        self.inputs.append(each)
        each(self.side)

    def trade(self, symbols: set[str], age: int) -> None:
        ts_ns = self.now - age * NS_PER_S // 2
        ticks, now = [tick(symbol, ts_ns) for symbol in sorted(symbols)], self.now
        self.apply(lambda side: side.trade(ticks, now))
        for symbol in symbols:
            self.published[symbol] = self.published.get(symbol, 0) + 1

    def change_other(self, *, wants: bool) -> None:
        """Let another stream have the bars of a symbol from now on, or no longer."""
        topic = [wire.BarTopic(symbol="A", interval="1s")]
        request = wire.WatchRequest(buffer=10)
        (request.add_bars if wants else request.remove_bars).extend(topic)
        self.apply(lambda side: side.watch(OTHER, request))

    def wait(self, tenths: int) -> None:
        self.now += tenths * NS_PER_S // 10
        now = self.now
        self.apply(lambda side: side.close_due(now))

    async def connect(self) -> None:
        if not self.reader.is_connected:
            request = await self.reader.connect(self.side)
            stream = self.reader.stream
            self.inputs.append(lambda side: side.watch(stream, request))

    def cut(self) -> None:
        if self.reader.is_connected:
            self.reader.lose(self.side)

    def crash(self, *, saved: bool) -> None:
        """Let a new process make the same state, from a checkpoint or from the same inputs."""
        self.reader.lose(None)
        position = self.side.position
        self.side = Side()
        for each in self.inputs:
            each(self.side)
        assert self.side.position == position
        if saved:
            self.side.restore_streams()


moves = st.lists(
    st.one_of(
        st.tuples(st.sets(st.sampled_from("ABC"), min_size=1), st.integers(0, 6)),
        st.integers(1, 15),
        st.booleans(),
        st.sampled_from(["read", "read", "read and lose", "cut", "connect", "crash", "restore"]),
    ),
    max_size=40,
)


async def follow(run: Run, steps: list[object], max_states: int, max_bars: int) -> None:
    await advance(run, steps, max_states, max_bars)
    expected = {symbol: list(range(1, n + 1)) for symbol, n in run.published.items()}
    assert run.reader.states == expected
    assert run.reader.closed == run.side.closed
    assert run.reader.completed == run.side.completed
    assert all(each == sorted(set(each)) for each in run.reader.bars.values())


async def advance(run: Run, steps: list[object], max_states: int, max_bars: int) -> None:
    """Take the steps, then read all that is left."""
    await run.connect()
    for step in steps:
        match step:
            case (set() as symbols, int() as age):
                run.trade(symbols, age)
            case bool():
                run.change_other(wants=step)
            case int():
                run.wait(step)
            case "read" if run.reader.is_connected:
                await run.reader.read(max_states, max_bars)
            case "read and lose" if run.reader.is_connected:
                await run.reader.read(max_states, max_bars, is_lost=True)
                run.cut()
            case "cut":
                run.cut()
            case "connect":
                await run.connect()
            case "crash":
                run.crash(saved=False)
            case "restore":
                run.crash(saved=True)
    await run.connect()
    while run.reader.has_news:
        await run.reader.read(max_states, max_bars)


@given(moves)
async def test_a_reader_gets_each_state_once_across_cuts_and_restarts(steps: list[object]) -> None:
    await follow(Run(drops_known=False), steps, 1_000, 1_000)


@given(moves, st.integers(1, 3), st.integers(1, 3))
async def test_a_reader_that_takes_a_part_of_an_input_lacks_nothing(
    steps: list[object], max_states: int, max_bars: int
) -> None:
    await follow(Run(drops_known=True), steps, max_states, max_bars)


@given(moves)
async def test_a_slow_reader_goes_on_with_the_newest_states(steps: list[object]) -> None:
    run = Run(drops_known=True)
    await run.connect()
    run.apply(lambda side: side.watch(run.reader.stream, wire.WatchRequest(buffer=2)))
    for step in steps:
        match step:
            case (set() as symbols, int() as age):
                run.trade(symbols, age)
            case "cut" | "read and lose":
                await run.reader.read(2, 1_000)
                run.cut()
                await run.connect()
    while run.reader.has_news:
        await run.reader.read(2, 1_000)
    assert {symbol: each[-1] for symbol, each in run.reader.states.items()} == run.published
    assert run.reader.closed == run.side.closed


@given(moves, st.integers(1, 1_000), st.booleans())
async def test_what_is_buffered_comes_state_by_state_and_of_the_rest_the_newest(
    steps: list[object], limit: int, by_name: bool
) -> None:
    run = Run(drops_known=True)
    await run.connect()
    if by_name:
        request = wire.WatchRequest(buffer_all=False, add_buffered="A")
    else:
        request = wire.WatchRequest(buffer_all=False, add_buffered="AC", remove_buffered="C")
    run.apply(lambda side: side.watch(run.reader.stream, request))
    await advance(run, steps, limit, 1_000)
    expected = list(range(1, run.published.get("A", 0) + 1))
    assert run.reader.states.get("A", []) == expected
    for symbol, sequences in run.reader.states.items():
        assert sequences == sorted(set(sequences))
        assert sequences[-1] == run.published[symbol]
    assert run.reader.states.keys() == run.published.keys()
    assert run.reader.closed == run.side.closed


@given(
    st.lists(
        st.one_of(
            st.sets(st.sampled_from("ABC"), min_size=1),
            st.tuples(st.sampled_from(["buffer", "unbuffer"]), st.sampled_from("ABCD")),
            st.booleans(),
            st.sampled_from(["read", "cut"]),
        ),
        max_size=40,
    ),
    st.integers(1, 5),
)
async def test_whatever_is_buffered_sequences_grow_and_nothing_waits_beyond_its_bound(
    steps: list[object], limit: int
) -> None:
    run = Run(drops_known=True)
    await run.connect()
    run.apply(lambda side: side.watch(run.reader.stream, wire.WatchRequest(buffer=4)))
    for step in steps:
        match step:
            case set() as symbols:
                run.trade(symbols, 0)
            case ("buffer", str() as symbol):
                change(run, wire.WatchRequest(add_buffered=[symbol]))
            case ("unbuffer", str() as symbol):
                change(run, wire.WatchRequest(remove_buffered=[symbol]))
            case bool():
                change(run, wire.WatchRequest(buffer_all=step))
            case "read":
                await run.reader.read(limit, 1_000)
            case "cut":
                run.cut()
                await run.connect()
                while run.reader.has_news:
                    await run.reader.read(limit, 1_000)
        for watcher in run.side.watchers._open:
            assert watcher.states.buffered <= 4
            assert watcher.states.due <= 3
    while run.reader.has_news:
        await run.reader.read(limit, 1_000)
    assert {symbol: each[-1] for symbol, each in run.reader.states.items()} == run.published
    assert all(each == sorted(set(each)) for each in run.reader.states.values())


def change(run: Run, request: wire.WatchRequest) -> None:
    stream = run.reader.stream
    run.apply(lambda side: side.watch(stream, request))


async def refused(side: Side, resume: wire.WatchResume) -> str:
    own = side.watchers.open()
    stream = side.streams.next_number()
    side.streams.attach(stream, own)
    side.watch(stream, wire.WatchRequest(resume=resume))
    with pytest.raises(CannotResume) as caught:
        await own.next_updates(1, 1)
    side.end(stream)
    return str(caught.value)


async def test_what_cannot_be_resumed_says_why() -> None:
    side, reader = Side(max_bytes=2_000), Reader(drops_known=False)
    await reader.connect(side)
    side.trade([tick("A", NOW)], NOW)
    await reader.read(10, 10)
    name = watcher_id(reader.stream)
    assert "no watcher '9'" in await refused(side, wire.WatchResume(epoch=EPOCH, watcher_id="9"))
    other = wire.WatchResume(epoch=6, watcher_id=name, position=reader.position)
    assert "the epoch is 7" in await refused(side, other)
    later = wire.WatchResume(epoch=EPOCH, watcher_id=name, position=reader.position + 100)
    assert "gone" in await refused(side, later)
    # It was given up with that.
    assert "no watcher" in await refused(side, wire.WatchResume(epoch=EPOCH, watcher_id=name))


async def test_what_was_dropped_cannot_be_resumed_and_memory_is_bounded() -> None:
    side, reader = Side(max_bytes=10_000), Reader(drops_known=False)
    await reader.connect(side)
    reader.lose(side)
    for n in range(1_000):
        side.trade([tick("A", NOW + n * NS_PER_S)], NOW + n * NS_PER_S)
        assert side.recent.bytes <= 10_000
        assert len(side.recent) <= 40
    assert side.recent.dropped > 900
    resume = wire.WatchResume(
        epoch=EPOCH, watcher_id=watcher_id(reader.stream), position=reader.position
    )
    assert "gone" in await refused(side, resume)
    assert len(side.watchers) == 0
    assert (len(side.recent), side.recent.bytes) == (0, 0)


async def test_without_a_reader_nothing_is_kept_and_nothing_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    side = Side()
    monkeypatch.setattr(side.watchers, "_states", None)
    plain = side.watchers.open()
    side.watchers.watch_all(plain, True)
    side.trade([tick("A", NOW)], NOW)
    assert len(side.recent) == 0


async def test_a_state_is_encoded_once_for_all_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    side, calls = Side(), list[int]()
    readers = [Reader(drops_known=False) for _ in range(3)]
    for reader in readers:
        await reader.connect(side)
    states = side.book.states

    def count(rows: list[int]) -> list[bytes]:
        calls.append(len(rows))
        return states(rows)

    monkeypatch.setattr(side.watchers, "_states", count)
    side.watch(2, wire.WatchRequest(all=False, add=["B"]))
    readers[2].lose(side)
    side.trade([tick("A", NOW), tick("B", NOW)], NOW)
    assert calls == [2]
    await readers[2].connect(side)
    for reader, seen in zip(readers, ("AB", "B", "AB"), strict=True):
        await reader.read(10, 10)
        assert "".join(reader.states) == seen


async def test_the_stream_that_was_taken_over_ends() -> None:
    side, first = Side(), Reader(drops_known=False)
    await first.connect(side)
    side.trade([tick("A", NOW)], NOW)
    second = Reader(drops_known=False)
    second.stream, second.position = first.stream, first.position
    await second.connect(side)
    with pytest.raises(TakenOver):
        await first.read(10, 10)
    await second.read(10, 10)
    assert second.states == {"A": [1]}


async def test_a_reader_that_did_not_hear_that_it_was_resumed_can_come_again() -> None:
    side, reader = Side(), Reader(drops_known=False)
    await reader.connect(side)
    first = reader.stream
    side.trade([tick("A", NOW)], NOW)
    for _ in range(3):
        reader.lose(side)
        reader.stream = first
        await reader.connect(side)
    await reader.read(10, 10)
    assert reader.states == {"A": [1]}
    side.end(reader.stream)
    assert side.streams.find(watcher_id(first)) == first


async def test_lost_streams_are_held_for_a_bounded_time_and_in_a_bounded_number() -> None:
    side, ended = Side(), list[int]()

    def end(stream: int) -> None:
        ended.append(stream)
        side.end(stream)

    holding = Holding(side.streams, end, hold_s=60, max_held=2)
    readers = [Reader(drops_known=False) for _ in range(3)]
    for reader in readers:
        await reader.connect(side)
        holding.lose(reader.stream)
    assert (ended, len(holding), holding.given_up) == ([1], 2, 1)
    # Its bars are wanted until then.
    assert side.bars.watched_topics == 1
    holding.take(2)
    assert (len(holding), holding.is_taken(2)) == (1, False)
    holding.stop()
    short = Holding(side.streams, end, hold_s=0.001)
    short.hold_all()
    assert len(short) == 2
    while len(short):
        await _next_turn()
    assert ended == [1, 2, 3]
    assert (len(side.watchers), side.bars.watched_topics) == (0, 0)


async def test_a_stream_without_a_buffer_is_not_held() -> None:
    side, ended = Side(), list[int]()
    holding = Holding(side.streams, ended.append)
    side.watch(1, wire.WatchRequest(all=True))
    holding.lose(1)
    assert ended == [1]


async def test_an_open_stream_that_was_taken_over_is_not_ended_for_its_successor() -> None:
    side, ended = Side(), list[int]()
    holding = Holding(side.streams, ended.append)
    side.watch(1, EVERYTHING)
    holding.take(1)
    assert holding.is_taken(1)
    holding.lose(1)
    assert (ended, holding.is_taken(1)) == ([], False)


async def _next_turn() -> None:
    await asyncio.sleep(0.001)
