"""Who gets which update: no hole, no repeat, and it says so when it cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hub.batch import Batch
from gateway.hub.history import History
from gateway.hub.hub import Hub, TooManySymbols
from gateway.hub.subscription import BufferLimits, Resume, Subscription
from gateway.hub.updates import UPDATE_BYTES, Delivery, FeedStatus, Policy
from marketdata.wire.market_data_pb2 import Aggregate

EPOCH = 7


class Reader:
    """A subscriber that notes what it is told, and takes deliveries when it reads."""

    def __init__(self) -> None:
        self.woken: dict[Subscription, None] = {}
        self.statuses: list[FeedStatus] = []

    def send(self, subscription: Subscription, batch: Batch) -> bool:
        # It takes what waits.
        return False

    def flush(self, subscriptions: Iterable[Subscription]) -> None:
        self.woken.update(dict.fromkeys(subscriptions))

    def on_status(self, status: FeedStatus) -> None:
        self.statuses.append(status)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Feed:
    """A hub, its clock, and an aggregator that counts sequences."""

    def __init__(
        self,
        *,
        linger_s: float = 60,
        history: int = 1000,
        max_symbols: int = 100,
    ) -> None:
        self.clock = Clock()
        self.hub = Hub(
            History(history, max_age_s=60),
            linger_s=linger_s,
            max_symbols=max_symbols,
            clock=self.clock,
        )
        self.epoch = EPOCH
        self.sequences: dict[str, int] = {}
        self.reader = Reader()

    def publish(self, *symbols: str) -> None:
        aggregates = []
        for symbol in symbols:
            self.sequences[symbol] = self.sequences.get(symbol, 0) + 1
            aggregates.append(self.aggregate(symbol))
        self.hub.publish(aggregates)

    def aggregate(self, symbol: str) -> bytes:
        state = Aggregate(symbol=symbol, sequence=self.sequences[symbol], epoch=self.epoch)
        return state.SerializeToString()

    def restart(self) -> None:
        self.epoch += 1
        self.sequences.clear()
        self.hub.begin_epoch(self.epoch)

    def subscribe(
        self,
        symbols: Iterable[str] | None,
        policy: Policy = "buffer",
        resume: Resume | None = None,
        limits: BufferLimits | None = None,
    ) -> Subscription:
        subscription = Subscription(symbols, policy, resume, limits)
        self.hub.subscribe(subscription, self.reader)
        return subscription


def take_all(subscription: Subscription) -> list[Delivery]:
    deliveries = []
    while (delivery := subscription.take()) is not None:
        deliveries.append(delivery)
    return deliveries


def seen(subscription: Subscription) -> list[tuple[str, int]]:
    return [(d.update.symbol, d.update.sequence) for d in take_all(subscription)]


def told(subscription: Subscription) -> list[tuple[int, bool | None]]:
    return [(d.update.sequence, d.recovered) for d in take_all(subscription)]


def resume(sequence: int, epoch: int = EPOCH, symbol: str = "A") -> Resume:
    return Resume(epoch, {symbol: sequence})


def test_a_subscriber_gets_the_present_state_and_then_each_later_one() -> None:
    feed = Feed()
    feed.subscribe(["A"])
    feed.publish("A", "A")
    subscription = feed.subscribe(["A"])
    feed.publish("A", "B", "A")
    assert seen(subscription) == [("A", 2), ("A", 3), ("A", 4)]


def test_a_symbol_that_does_not_exist_yet_is_valid() -> None:
    feed = Feed()
    subscription = feed.subscribe(["NEW"])
    assert seen(subscription) == []
    feed.publish("NEW")
    assert seen(subscription) == [("NEW", 1)]


def test_a_wildcard_carries_every_symbol_present_and_future() -> None:
    feed = Feed()
    feed.subscribe(["A"])
    feed.publish("A")
    subscription = feed.subscribe(None)
    feed.publish("B")
    assert seen(subscription) == [("A", 1), ("B", 1)]


def test_a_subscriber_is_woken_once_per_batch_with_what_waits() -> None:
    feed = Feed()
    one, two = feed.subscribe(["A", "B"]), feed.subscribe(["B"])
    feed.subscribe(["C"])
    feed.publish("A", "B")
    assert list(feed.reader.woken) == [one, two]


def test_an_ended_subscription_gets_nothing_more() -> None:
    feed = Feed()
    subscription = feed.subscribe(["A"])
    feed.hub.unsubscribe(subscription)
    feed.hub.unsubscribe(subscription)
    feed.publish("A")
    assert seen(subscription) == []
    assert feed.hub.subscriptions == 0


def test_a_state_that_is_known_is_not_given_twice() -> None:
    feed = Feed()
    subscription = feed.subscribe(["A"])
    feed.publish("A", "A")
    feed.hub.publish([feed.aggregate("A")])  # a new stream begins with the present state
    assert seen(subscription) == [("A", 1), ("A", 2)]


def test_conflation_keeps_the_newest_state_per_symbol_and_counts_the_skipped() -> None:
    feed = Feed()
    subscription = feed.subscribe(["A", "B"], policy="conflate")
    feed.publish("A", "B", "A", "A")
    deliveries = take_all(subscription)
    assert [(d.update.symbol, d.update.sequence, d.conflated) for d in deliveries] == [
        ("A", 3, 2),
        ("B", 1, 0),
    ]
    assert subscription.is_empty


def test_a_buffer_keeps_every_state_up_to_its_bytes() -> None:
    feed = Feed()
    subscription = feed.subscribe(["A"], limits=BufferLimits(max_bytes=3 * UPDATE_BYTES))
    feed.publish("A", "A", "A")
    assert not subscription.overflowed
    assert subscription.waiting_bytes == 3 * UPDATE_BYTES
    feed.publish("A")
    assert subscription.overflowed
    assert subscription.is_empty


def test_what_a_subscription_begins_with_may_be_more_than_its_buffer() -> None:
    feed = Feed()
    first = feed.subscribe(["A"])
    feed.publish(*["A"] * 5)
    feed.hub.unsubscribe(first)
    again = feed.subscribe(["A"], resume=resume(1), limits=BufferLimits(max_bytes=2 * UPDATE_BYTES))
    feed.publish("A", "A")
    assert not again.overflowed
    assert [again.take() is not None for _ in range(5)] == [True] * 5
    feed.publish("A")
    assert not again.overflowed
    assert seen(again) == [("A", 7), ("A", 8)]
    feed.publish("A", "A", "A")
    assert again.overflowed


def test_a_buffer_overflows_when_its_oldest_state_is_too_old() -> None:
    feed = Feed()
    subscription = feed.subscribe(["A"], limits=BufferLimits(max_age_s=10))
    feed.publish("A")
    feed.clock.now = 10
    feed.publish("A")
    assert not subscription.overflowed
    feed.clock.now = 10.1
    feed.publish("A")
    assert subscription.overflowed


def test_a_reader_that_comes_back_gets_all_it_missed() -> None:
    feed = Feed()
    first = feed.subscribe(["A"])
    feed.publish("A", "A")
    feed.hub.unsubscribe(first)
    feed.publish("A", "A")
    again = feed.subscribe(["A"], resume=resume(2))
    feed.publish("A")
    assert told(again) == [(3, True), (4, True), (5, None)]


def test_a_reader_that_missed_nothing_is_told_with_the_next_state() -> None:
    feed = Feed()
    feed.subscribe(["A"])
    feed.publish("A", "A")
    again = feed.subscribe(["A"], resume=resume(2))
    assert told(again) == []
    feed.publish("A")
    assert told(again) == [(3, True)]


@pytest.mark.parametrize(
    "where",
    [
        resume(1),  # too long ago
        resume(3, epoch=EPOCH - 1),  # another epoch
        resume(99),  # never was
    ],
)
def test_a_reader_that_cannot_be_given_all_it_missed_gets_a_snapshot(where: Resume) -> None:
    feed = Feed(history=2)
    feed.subscribe(["A"])
    feed.publish("A", "A", "A", "A")
    again = feed.subscribe(["A"], resume=where)
    feed.publish("A")
    assert told(again) == [(4, False), (5, None)]


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [(5, [(6, True)]), (4, [(5, True), (6, None)]), (3, [(5, False), (6, None)])],
)
def test_a_reader_that_comes_back_to_an_empty_hub_is_told_by_the_first_state(
    sequence: int, expected: list[tuple[int, bool | None]]
) -> None:
    feed = Feed()
    again = feed.subscribe(["A"], resume=resume(sequence))
    feed.sequences["A"] = 4
    feed.publish("A", "A")
    assert told(again) == expected


def test_after_a_restart_of_the_aggregator_everyone_gets_a_snapshot() -> None:
    feed = Feed()
    live = feed.subscribe(["A"])
    feed.publish("A", "A")
    feed.restart()
    back = feed.subscribe(["A"], resume=resume(2))
    feed.publish("A")
    assert told(live) == [(1, None), (2, None), (1, False)]
    assert told(back) == [(1, False)]


def test_a_hole_in_the_stream_is_told_and_makes_history_before_it_useless() -> None:
    feed = Feed()
    live = feed.subscribe(["A"])
    feed.publish("A")
    feed.sequences["A"] = 5
    feed.publish("A")
    assert told(live) == [(1, None), (6, False)]
    for before in (1, 4):
        assert told(feed.subscribe(["A"], resume=resume(before))) == [(6, False)]
    assert told(feed.subscribe(["A"], resume=resume(5))) == [(6, True)]


def test_a_conflated_reader_still_hears_of_a_hole() -> None:
    feed = Feed()
    live = feed.subscribe(["A"], policy="conflate")
    feed.publish("A")
    feed.hub.begin_stream(None)
    feed.sequences["A"] = 5
    feed.publish("A", "A")
    assert told(live) == [(7, False)]


def test_history_ends_by_age() -> None:
    feed = Feed()
    feed.subscribe(["A"])
    feed.publish("A", "A")
    feed.clock.now = 61
    feed.publish("A")
    assert told(feed.subscribe(["A"], resume=resume(1))) == [(3, False)]
    assert told(feed.subscribe(["A"], resume=resume(2))) == [(3, True)]


def test_a_thousand_subscribers_are_one_upstream_entry() -> None:
    feed = Feed()
    subscriptions = [feed.subscribe(["A"], "conflate") for _ in range(1000)]
    assert feed.hub.take_interest_changes() == ({"A"}, set())
    for subscription in subscriptions:
        feed.hub.unsubscribe(subscription)
    assert feed.hub.take_interest_changes() == (set(), set())
    feed.hub.expire(60)
    assert feed.hub.take_interest_changes() == (set(), {"A"})
    assert feed.hub.followed_topics() == []


def test_a_symbol_lingers_and_is_taken_up_again_without_a_word_upstream() -> None:
    feed = Feed()
    first = feed.subscribe(["A"])
    feed.publish("A")
    feed.hub.unsubscribe(first)
    feed.hub.take_interest_changes()
    assert feed.hub.next_timer() == 60
    feed.clock.now = 59
    again = feed.subscribe(["A"])
    feed.hub.expire(61)
    assert seen(again) == [("A", 1)]
    assert feed.hub.take_interest_changes() == (set(), set())
    assert feed.hub.next_timer() is None


@pytest.mark.parametrize("symbols", [["A"], None])
def test_a_state_that_is_no_longer_followed_is_not_given_as_the_present_one(
    symbols: list[str] | None,
) -> None:
    feed = Feed()
    subscription = feed.subscribe(symbols)
    feed.publish("A")
    feed.hub.unsubscribe(subscription)
    feed.hub.expire(60)
    assert seen(feed.subscribe(["A"])) == []


def test_what_a_wildcard_leaves_is_forgotten_but_for_named_symbols() -> None:
    feed = Feed()
    feed.subscribe(["A"])
    wildcard = feed.subscribe(None)
    feed.publish("A", "B")
    feed.hub.unsubscribe(wildcard)
    assert "*" in feed.hub.followed_topics()
    feed.hub.expire(60)
    assert "*" not in feed.hub.followed_topics()
    assert seen(feed.subscribe(["A"])) == [("A", 1)]
    assert seen(feed.subscribe(["B"])) == []


def test_the_number_of_followed_topics_is_bounded_and_a_refused_one_leaves_nothing() -> None:
    feed = Feed(max_symbols=2)
    feed.subscribe(["A", "B"], "conflate")
    with pytest.raises(TooManySymbols, match="at most 2 symbols"):
        feed.subscribe(["A", "C"])
    feed.subscribe(["A"], "conflate")
    assert sorted(feed.hub.followed_topics()) == ["A", "B"]
    assert feed.hub.subscriptions == 2


def test_each_subscriber_is_told_once_when_the_status_changes() -> None:
    feed = Feed()
    feed.subscribe(["A"])
    feed.subscribe(["B"])
    feed.hub.set_status(FeedStatus.LIVE)
    feed.hub.set_status(FeedStatus.LIVE)
    feed.hub.set_status(FeedStatus.STALE)
    assert feed.reader.statuses == [FeedStatus.LIVE, FeedStatus.STALE]


@given(st.integers(0, 2**32), st.integers(1, 30), st.booleans())
def test_whatever_happens_a_buffering_reader_can_trust_its_sequence(
    seed: int, history: int, small_linger: bool
) -> None:
    """Reconnect at random, with holes and restarts between; never a silent hole or a repeat."""
    random = Random(seed)
    feed = Feed(history=history, linger_s=1 if small_linger else 60)
    last: tuple[int, int] | None = None
    subscription: Subscription | None = None
    for _ in range(60):
        feed.clock.now += random.random()
        feed.hub.expire(feed.clock.now)
        step = random.choice(["publish", "publish", "publish", "cut", "read", "hole", "restart"])
        if subscription is None:
            where = None if last is None else resume(last[1], epoch=last[0])
            subscription = feed.subscribe(["A"], resume=where)
            # The upstream answers an added symbol with its present state.
            if "A" in feed.hub.take_interest_changes()[0] and "A" in feed.sequences:
                feed.hub.publish([feed.aggregate("A")])
        if step == "publish":
            feed.publish(*["A"] * random.randint(1, 3))
        elif step == "hole" and "A" in feed.sequences:
            feed.sequences["A"] += random.randint(1, 3)
        elif step == "restart" and random.random() < 0.3:
            feed.restart()
        else:
            for delivery in take_all(subscription):
                update = delivery.update
                new = (update.epoch, update.sequence)
                if last is not None and delivery.recovered is not False:
                    assert new == (last[0], last[1] + 1)
                last = new
            if step == "cut":
                feed.hub.unsubscribe(subscription)
                subscription = None
