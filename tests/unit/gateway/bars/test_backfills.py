"""History becomes live without a hole or a repeat, whatever comes between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bars.backfills import BARS_PER_PAGE, Backfills
from gateway.errors import AggregatorUnavailable, FieldError, HistoryTooLong, InvalidInput
from gateway.hub.backfill import Backfill
from gateway.hub.bar_subscription import BarSubscription
from gateway.hub.batch import Batch
from gateway.hub.history import History
from gateway.hub.hub import Hub
from gateway.hub.subscription import Subscription
from gateway.hub.updates import BarUpdate, Delivery, FeedStatus, Policy
from marketdata.errors import MarketDataError
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.bar_book import EARLY, FINAL, PARTIAL, REVISED, BarBook

Answer = asyncio.Future[wire.BarsResponse]


class World:
    """An aggregator whose Watch stream and responses move step by step; and one reader."""

    def __init__(
        self,
        symbols: Iterable[str] = ("A",),
        policy: Policy = "conflate",
        *,
        page: int = BARS_PER_PAGE,
        max_history: int = 10_000,
        check_after_s: float = 0,
    ) -> None:
        self.book = BarBook()
        self.page = page
        self.hub = Hub(History(1000, 60), linger_s=60, max_symbols=100, clock=lambda: 0.0)
        self.backfills = Backfills(
            self.hub, self, max_history=max_history, pause_s=0, check_after_s=check_after_s
        )
        self.symbols = sorted(symbols)
        self.subscription = BarSubscription(
            "1m", self.symbols, policy, backfill=Backfill(self.symbols, 0)
        )
        # On its way to the hub; None: the aggregator has not heard that the bars are followed.
        self.on_the_way: deque[list[wire.Bar]] | None = None
        # Answers that were asked for, and those that are on their way back.
        self.asked: deque[tuple[wire.BarsRequest, Answer]] = deque()
        self.answered: deque[tuple[Answer, wire.BarsResponse]] = deque()
        self.seen: list[Delivery] = []
        self.failures: list[MarketDataError] = []
        self.is_down = False

    # The client of history

    async def get_bars(self, request: wire.BarsRequest, *, caller: str | None) -> wire.BarsResponse:
        assert caller is None
        if self.is_down:
            raise AggregatorUnavailable("down", 1)
        answer: Answer = asyncio.get_running_loop().create_future()
        self.asked.append((request, answer))
        return await answer

    # The reader

    def send(self, subscription: Subscription, batch: Batch) -> bool:
        return False

    def flush(self, subscriptions: Iterable[Subscription]) -> None:
        """It reads when the test says so."""

    def on_status(self, status: FeedStatus) -> None:
        """It does not care."""

    def read(self, count: int = 1_000_000) -> None:
        while count and (delivery := self.subscription.take()) is not None:
            self.seen.append(delivery)
            count -= 1

    @property
    def bars(self) -> list[wire.Bar]:
        return [d.update.bar for d in self.seen if isinstance(d.update, BarUpdate)]

    @property
    def starts(self) -> list[tuple[int, int]]:
        return [(bar.start, bar.state) for bar in self.bars]

    # What happens, step by step

    def begin(self) -> None:
        self.hub.begin_epoch(self.book.epoch)
        self.hub.begin_stream(["1m"])
        self.hub.subscribe(self.subscription, self)
        self.backfills.begin(self.subscription, self, self.failures.append)

    def register(self) -> None:
        """Let the aggregator hear that the bars are followed."""
        if self.on_the_way is None:
            self.on_the_way = deque(self.book.open_bars(each, "1m") for each in self.symbols)

    def publish(self, start: int, state: wire.BarState.ValueType, symbol: str = "A") -> wire.Bar:
        revision = self.revision(symbol, start) + 1 if state == REVISED else 0
        bar = self.book.publish(symbol, "1m", start, state=state, revision=revision)
        if self.on_the_way is not None:
            self.on_the_way.append([bar])
        return bar

    def revision(self, symbol: str, start: int) -> int:
        newest = self.newest(symbol)
        return newest[start].revision if start in newest else 0

    def newest(self, symbol: str) -> dict[int, wire.Bar]:
        request = wire.BarsRequest(symbol=symbol, interval="1m", include_partial=True, limit=9999)
        return {bar.start: bar for bar in self.book.read(request).bars}

    def deliver(self) -> None:
        if self.on_the_way:
            self.hub.publish_bars(self.on_the_way.popleft())

    def reconnect(self) -> None:
        """Lose the Watch stream and what is on its way in it, and open another."""
        self.on_the_way = None
        self.hub.begin_stream(["1m"])
        self.register()

    def answer(self) -> None:
        """Let the aggregator answer the oldest request from its present bars."""
        if self.asked:
            request, answer = self.asked.popleft()
            request.limit = min(request.limit, self.page)
            self.answered.append((answer, self.book.read(request)))

    async def receive(self) -> None:
        if self.answered:
            answer, response = self.answered.popleft()
            if not answer.done():
                answer.set_result(response)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Let everything arrive."""
        self.register()
        for _ in range(200):
            self.read()
            while self.on_the_way:
                self.deliver()
            self.answer()
            await self.receive()
        self.read()

    async def end(self) -> None:
        self.hub.unsubscribe(self.subscription)
        await self.settle()
        assert not len(self.backfills)


async def test_history_comes_first_and_then_each_live_state() -> None:
    world = World()
    for start in range(3):
        world.publish(start, FINAL)
    world.publish(3, PARTIAL)
    world.begin()
    world.register()
    await world.settle()
    world.deliver()
    world.publish(3, EARLY)
    world.deliver()
    world.read()
    assert world.starts == []
    world.answer()
    world.publish(3, FINAL)
    world.publish(4, PARTIAL)
    await world.receive()
    world.deliver()
    world.deliver()
    world.read()
    assert world.starts == [
        (0, FINAL),
        (1, FINAL),
        (2, FINAL),
        (3, EARLY),
        (3, FINAL),
        (4, PARTIAL),
    ]
    assert {delivery.recovered for delivery in world.seen} == {None}
    await world.end()


async def test_a_bar_of_an_earlier_page_that_changed_meanwhile_comes_again_newer() -> None:
    world = World(page=2)
    for start in range(4):
        world.publish(start, FINAL)
    world.begin()
    world.register()
    await world.settle()
    world.answer()
    world.publish(0, REVISED)
    world.publish(3, REVISED)
    await world.receive()
    world.read()
    await world.finish()
    assert world.starts == [(0, FINAL), (1, FINAL), (2, FINAL), (3, REVISED), (0, REVISED)]
    await world.end()


async def test_what_was_published_before_the_aggregator_heard_of_the_reader_is_read() -> None:
    world = World()
    world.publish(0, PARTIAL)
    world.begin()
    await world.settle()
    world.answer()
    await world.receive()
    # It closes on no way that leads to the reader, and then another opens.
    world.publish(0, FINAL)
    world.register()
    world.publish(60, PARTIAL)
    await world.finish()
    assert world.starts == [(0, PARTIAL), (0, FINAL), (60, PARTIAL)]
    await world.end()


async def test_it_is_read_too_if_nothing_follows() -> None:
    world = World()
    world.publish(0, PARTIAL)
    world.begin()
    await world.settle()
    world.answer()
    await world.receive()
    world.publish(0, FINAL)
    await world.finish()
    assert world.starts == [(0, PARTIAL), (0, FINAL)]
    await world.end()


async def test_what_a_lost_stream_held_is_read_and_nothing_is_repeated() -> None:
    world = World()
    world.publish(0, FINAL)
    world.publish(1, PARTIAL)
    world.begin()
    await world.finish()
    world.publish(1, FINAL)
    world.publish(2, FINAL)
    world.reconnect()
    world.publish(3, PARTIAL)
    await world.finish()
    assert world.starts == [(0, FINAL), (1, PARTIAL), (1, FINAL), (2, FINAL), (3, PARTIAL)]
    assert {delivery.recovered for delivery in world.seen} == {None}
    await world.end()


async def test_a_bar_that_closed_long_ago_is_not_taken_for_one_of_an_earlier_life() -> None:
    world = World()
    world.publish(0, FINAL)
    world.publish(1, PARTIAL)
    world.begin()
    await world.settle()
    world.answer()
    await world.receive()
    # Two bars close on no way that leads to the reader, and the aggregator gives them up.
    world.publish(1, FINAL)
    world.publish(2, FINAL)
    world.register()
    world.publish(3, PARTIAL)
    world.book.forget_closed()
    await world.finish()
    expected = [(0, FINAL), (1, PARTIAL), (1, FINAL), (2, FINAL), (3, PARTIAL)]
    assert world.starts == expected
    # What came live is not repeated when history is read anew.
    world.publish(3, FINAL)
    world.publish(4, FINAL)
    await world.finish()
    world.publish(5, FINAL)
    world.book.forget_closed()
    world.reconnect()
    world.publish(6, PARTIAL)
    await world.finish()
    assert world.starts == [*expected, (3, FINAL), (4, FINAL), (5, FINAL), (6, PARTIAL)]
    await world.end()


async def test_skipped_open_states_do_not_make_history_be_read_anew() -> None:
    world = World()
    other = BarSubscription("1m", ["A"])
    world.hub.begin_epoch(world.book.epoch)
    world.hub.begin_stream(["1m"])
    world.hub.subscribe(other, world)
    world.register()
    for start in range(12):
        world.publish(start, FINAL)
        world.deliver()
    world.hub.subscribe(world.subscription, world)
    world.backfills.begin(world.subscription, world, world.failures.append)
    await world.settle()
    world.answer()
    await world.receive()
    # The aggregator sends of an open bar only the newest state.
    for _ in range(3):
        world.publish(12, PARTIAL)
        world.publish(12, PARTIAL)
    assert world.on_the_way is not None
    for _ in range(3):
        world.deliver()
        world.on_the_way.popleft() if len(world.on_the_way) > 1 else None
    await world.settle()
    assert not world.asked
    await world.end()


async def test_a_restart_of_the_aggregator_is_told() -> None:
    world = World()
    world.publish(0, FINAL)
    world.begin()
    await world.finish()
    # It went to the store, and to nobody else before the end.
    world.book.publish("A", "1m", 1, state=FINAL)
    world.book.restart()
    world.hub.begin_epoch(world.book.epoch)
    world.reconnect()
    world.publish(2, PARTIAL)
    await world.finish()
    assert world.starts == [(0, FINAL), (1, FINAL), (2, PARTIAL)]
    assert [delivery.recovered for delivery in world.seen] == [None, False, None]
    await world.end()


async def test_a_page_of_another_life_than_live_states_is_asked_for_again() -> None:
    world = World()
    world.publish(0, FINAL)
    world.begin()
    await world.settle()
    world.book.restart()
    world.answer()
    await world.receive()
    world.read()
    assert world.seen == []
    world.hub.begin_epoch(world.book.epoch)
    await world.finish()
    assert world.starts == [(0, FINAL)]
    await world.end()


async def test_while_the_aggregator_is_away_it_is_waited_for() -> None:
    world = World()
    world.publish(0, FINAL)
    world.is_down = True
    world.begin()
    await world.settle()
    world.is_down = False
    await world.finish()
    assert world.starts == [(0, FINAL)]
    assert world.failures == []
    await world.end()


async def test_at_most_one_page_waits_for_a_slow_reader() -> None:
    world = World(page=2)
    for start in range(6):
        world.publish(start, FINAL)
    world.begin()
    world.register()
    await world.settle()
    world.answer()
    await world.receive()
    assert not world.asked
    world.read(1)
    await world.settle()
    assert not world.asked
    world.read(1)
    await world.settle()
    assert world.asked
    await world.finish()
    assert [start for start, _ in world.starts] == list(range(6))
    await world.end()


async def test_more_history_than_a_live_endpoint_gives_is_refused_naming_rest() -> None:
    world = World(page=2, max_history=4)
    for start in range(5):
        world.publish(start, FINAL)
    world.begin()
    await world.finish()
    assert [type(each) for each in world.failures] == [HistoryTooLong]
    assert "/api/v1/marketdata/{symbol}/bars" in str(world.failures[0])
    await world.end()


async def test_what_the_aggregator_refuses_is_told() -> None:
    world = World()
    world.begin()
    await world.settle()
    refusal = InvalidInput([FieldError("interval", "no")])
    world.asked.popleft()[1].set_exception(refusal)
    await world.settle()
    assert world.failures == [refusal]
    await world.end()


async def test_a_reader_that_leaves_leaves_no_task() -> None:
    world = World()
    world.begin()
    await world.settle()
    await world.end()


@pytest.mark.parametrize("policy", ["conflate", "buffer"])
async def test_many_symbols_are_joined_each_for_itself(policy: Policy) -> None:
    world = World(["A", "B", "C"], policy)
    for symbol in "ABC":
        for start in range(3):
            world.publish(start, FINAL, symbol)
    world.begin()
    world.register()
    await world.settle()
    world.publish(3, FINAL, "A")
    world.deliver()
    world.answer()
    world.publish(3, FINAL, "C")
    await world.finish()
    assert len(world.seen) == 11
    assert {(bar.symbol, bar.start) for bar in world.bars} == {
        *((symbol, start) for symbol in "ABC" for start in range(3)),
        ("A", 3),
        ("C", 3),
    }
    await world.end()


STEPS = ("open", "close", "open", "close", "register", "deliver", "answer", "receive", "read")


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    before=st.integers(0, 6),
    page=st.integers(1, 4),
    policy=st.sampled_from(["conflate", "buffer"]),
    losing=st.booleans(),
)
def test_at_every_interleaving_there_is_no_hole_no_repeat_and_nothing_older_after_newer(
    seed: int, before: int, page: int, policy: Policy, losing: bool
) -> None:
    async def play() -> None:
        random = Random(seed)
        world = World(("A", "B"), policy, page=page)

        def change(symbol: str, *, close: bool) -> None:
            start = random.randrange(5)
            state = world.newest(symbol)[start].state if start in world.newest(symbol) else None
            if state in {FINAL, REVISED}:
                world.publish(start, REVISED, symbol)
            elif close:
                world.publish(start, FINAL, symbol)
            else:
                world.publish(start, random.choice([PARTIAL, EARLY]), symbol)

        for _ in range(before):
            change(random.choice("AB"), close=random.random() < 0.7)
        world.begin()
        steps = (*STEPS, "reconnect") if losing else STEPS
        for _ in range(40):
            step = random.choice(steps)
            if step in {"open", "close"}:
                change(random.choice("AB"), close=step == "close")
            elif step == "read":
                world.read(random.randint(1, 3))
            elif step == "receive":
                await world.receive()
            else:
                getattr(world, step)()
        await world.finish()
        if losing:
            # A lost stream is noticed by the first state of the next one.
            for symbol in "AB":
                world.publish(9, PARTIAL, symbol)
            await world.finish()
        assert world.failures == []
        for symbol in "AB":
            of_symbol = [bar for bar in world.bars if bar.symbol == symbol]
            newest = world.newest(symbol)
            for start in {bar.start for bar in of_symbol} | newest.keys():
                sequences = [bar.sequence for bar in of_symbol if bar.start == start]
                assert sequences == sorted(set(sequences)), (symbol, start, sequences)
                assert sequences, (symbol, start)
                assert sequences[-1] == newest[start].sequence, (symbol, start)
                revisions = [bar.revision for bar in of_symbol if bar.start == start]
                assert revisions == sorted(revisions)
        await world.end()

    asyncio.run(play())
