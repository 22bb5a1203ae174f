"""Who gets which state of which bar: closed ones always, open ones the newest."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hub.bar_subscription import BarSubscription
from gateway.hub.hub import TooManySymbols
from gateway.hub.subscription import BufferLimits, Resume, Subscription
from gateway.hub.updates import UPDATE_BYTES, BarTopic, BarUpdate, Delivery, Policy
from marketdata.intervals import InvalidInterval
from marketdata.wire import market_data_pb2 as wire
from tests.unit.gateway.hub.test_hub import EPOCH, Feed, take_all

PARTIAL, EARLY = wire.BAR_STATE_PARTIAL, wire.BAR_STATE_EARLY
FINAL, REVISED = wire.BAR_STATE_FINAL, wire.BAR_STATE_REVISED


class BarFeed(Feed):
    """A hub, and an aggregator that counts the states of bars."""

    def state(
        self,
        start: int,
        state: wire.BarState.ValueType,
        *,
        symbol: str = "A",
        interval: str = "1m",
        revision: int = 0,
    ) -> wire.Bar:
        key = f"{interval} {symbol}"
        self.sequences[key] = sequence = self.sequences.get(key, 0) + 1
        return wire.Bar(
            symbol=symbol,
            interval=interval,
            start=start,
            state=state,
            revision=revision,
            sequence=sequence,
            epoch=self.epoch,
        )

    def bar(
        self, start: int, state: wire.BarState.ValueType = PARTIAL, **fields: object
    ) -> wire.Bar:
        bar = self.state(start, state, **fields)  # type: ignore[arg-type]
        self.hub.publish_bars([bar])
        return bar

    def complete(self, end: int, interval: str = "1m") -> None:
        done = wire.IntervalComplete(interval=interval, end=end, epoch=self.epoch)
        self.hub.publish_bars([], [done])

    def follow(
        self,
        symbols: Iterable[str] | None = ("A",),
        policy: Policy = "conflate",
        *,
        interval: str = "1m",
        resume: Resume | None = None,
        limits: BufferLimits | None = None,
    ) -> Subscription:
        subscription = BarSubscription(interval, symbols, policy, resume, limits)
        self.hub.subscribe(subscription, self.reader)
        return subscription


def shown(delivery: Delivery) -> tuple[str, int, int]:
    update = delivery.update
    assert isinstance(update, BarUpdate)
    return update.symbol, update.bar.start, update.bar.state


def states(subscription: Subscription) -> list[tuple[str, int, int]]:
    return [shown(delivery) for delivery in take_all(subscription)]


def told(subscription: Subscription) -> list[tuple[int, bool | None]]:
    return [(each.update.sequence, each.recovered) for each in take_all(subscription)]


def test_bars_and_aggregates_of_a_symbol_are_topics_of_their_own() -> None:
    feed = BarFeed()
    aggregates, minutes = feed.subscribe(["A"], policy="conflate"), feed.follow()
    hours = feed.follow(interval="1h")
    feed.publish("A")
    feed.bar(0)
    assert [each.update.interval for each in take_all(aggregates)] == [None]
    assert states(minutes) == [("A", 0, PARTIAL)]
    assert states(hours) == []
    assert feed.hub.take_interest_changes() == (
        {"A", BarTopic("1m", "A"), BarTopic("1h", "A")},
        set(),
    )


def test_a_subscriber_begins_with_the_open_bars_in_order_and_gets_each_later_state() -> None:
    feed = BarFeed()
    feed.follow()
    feed.bar(0)
    feed.bar(60)
    feed.bar(0, EARLY)
    late = feed.follow(policy="buffer")
    feed.bar(0, FINAL)
    later = feed.follow(policy="buffer")
    assert states(late) == [("A", 60, PARTIAL), ("A", 0, EARLY), ("A", 0, FINAL)]
    assert states(later) == [("A", 60, PARTIAL)]


def test_a_wildcard_has_the_bars_of_every_symbol_of_its_interval() -> None:
    feed = BarFeed()
    feed.follow(["A"])
    feed.bar(0)
    wildcard = feed.follow(None)
    feed.bar(0, symbol="B")
    feed.bar(0, symbol="C", interval="1h")
    assert states(wildcard) == [("A", 0, PARTIAL), ("B", 0, PARTIAL)]
    assert BarTopic("1m", "*") in feed.hub.followed_topics()


def test_states_of_one_bar_conflate_and_a_revision_gives_way_only_to_the_next_one() -> None:
    feed = BarFeed()
    reader = feed.follow()
    for start in (0, 60, 120):
        feed.bar(start)
        feed.bar(start)
        feed.bar(start, EARLY)
        feed.bar(start, FINAL)
    feed.bar(60, REVISED, revision=1)
    feed.bar(60, REVISED, revision=2)
    feed.bar(180)
    deliveries = take_all(reader)
    assert [shown(each) for each in deliveries] == [
        ("A", 0, FINAL),
        ("A", 60, FINAL),
        ("A", 120, FINAL),
        ("A", 60, REVISED),
        ("A", 180, PARTIAL),
    ]
    assert [each.conflated for each in deliveries] == [3, 3, 3, 1, 0]
    assert feed.hub.conflated == 10
    feed.hub.unsubscribe(reader)
    assert feed.hub.conflated == 10


def test_a_final_bar_comes_before_the_marker_whatever_revises_it() -> None:
    feed = BarFeed()
    reader = feed.follow()
    feed.bar(0)
    feed.bar(0, FINAL)
    feed.complete(60)
    feed.bar(0, REVISED, revision=1)
    updates = [each.update for each in take_all(reader)]
    assert [update.is_marker for update in updates] == [False, True, False]


def test_bars_that_begin_at_the_same_time_do_not_conflate() -> None:
    feed = BarFeed()
    reader = feed.follow(interval="100t")
    bars = [feed.state(0, FINAL, interval="100t") for _ in range(3)]
    for number, bar in enumerate(bars):
        bar.number = number
    feed.hub.publish_bars(bars)
    assert len(take_all(reader)) == 3


@pytest.mark.parametrize("policy", ["conflate", "buffer"])
def test_more_closed_bars_than_may_wait_end_the_subscription(policy: Policy) -> None:
    feed = BarFeed()
    reader = feed.follow(policy=policy, limits=BufferLimits(max_bytes=3 * UPDATE_BYTES))
    for start in range(3):
        feed.bar(start, FINAL)
    assert not reader.overflowed
    assert reader.take() is not None
    feed.bar(3, FINAL)
    assert not reader.overflowed
    feed.bar(4, FINAL)
    assert reader.overflowed
    assert reader.is_empty


def test_open_states_of_many_bars_never_end_a_conflating_subscription() -> None:
    feed = BarFeed()
    reader = feed.follow(None, limits=BufferLimits(max_bytes=3 * UPDATE_BYTES))
    for number in range(100):
        feed.bar(0, symbol=f"S{number}")
    assert not reader.overflowed
    assert len(take_all(reader)) == 100


@pytest.mark.parametrize("policy", ["conflate", "buffer"])
def test_an_interval_is_complete_after_its_bars_for_everybody_of_it(policy: Policy) -> None:
    feed = BarFeed()
    named, wildcard = feed.follow(["A"], policy), feed.follow(None, policy)
    other = feed.follow(["A"], policy, interval="1h")
    feed.bar(0, FINAL)
    feed.complete(60)
    feed.bar(60)
    for reader in (named, wildcard):
        assert [each.update.is_marker for each in take_all(reader)] == [False, True, False]
    assert other.is_empty


def test_who_comes_back_to_bars_gets_what_was_missed() -> None:
    feed = BarFeed()
    feed.follow()
    for start in range(3):
        feed.bar(start, FINAL)
    assert told(feed.follow(policy="buffer", resume=Resume(EPOCH, {"A": 1}))) == [
        (2, True),
        (3, True),
    ]
    back = feed.follow(resume=Resume(EPOCH, {"A": 1}))
    assert told(back) == [(2, True), (3, None)]
    assert told(feed.follow(resume=Resume(EPOCH + 1, {"A": 1}))) == []


def test_who_has_the_open_bars_already_is_not_given_them_again() -> None:
    feed = BarFeed()
    feed.follow()
    feed.bar(0, EARLY)
    feed.bar(60)
    back = feed.follow(resume=Resume(EPOCH, {"A": 2}))
    feed.bar(60)
    assert told(back) == [(3, True)]


def test_how_it_goes_on_is_said_first_though_states_move_to_the_end() -> None:
    feed = BarFeed()
    feed.follow()
    feed.bar(0)
    back = feed.follow(resume=Resume(EPOCH - 1, {"A": 1}))
    feed.bar(60)
    feed.bar(0, EARLY)
    assert told(back) == [(2, False), (3, None)]


def test_a_new_stream_repeats_nothing_and_says_if_states_were_missed() -> None:
    feed = BarFeed()
    reader = feed.follow(policy="buffer")
    known = feed.bar(0)
    feed.hub.begin_stream(["1m"])
    feed.hub.publish_bars([known])
    feed.bar(0)
    assert told(reader) == [(1, None), (2, None)]
    feed.hub.begin_stream(["1m"])
    feed.sequences["1m A"] = 9
    feed.bar(120)
    assert told(reader) == [(10, False)]


def test_the_open_bars_that_a_new_stream_begins_with_may_only_seem_to_go_on() -> None:
    feed = BarFeed()
    reader = feed.follow(policy="buffer")
    feed.bar(0)
    feed.hub.begin_stream(["1m"])
    feed.bar(0, EARLY)
    feed.sequences["1m A"] = 9
    feed.bar(60)
    assert told(reader) == [(1, None), (2, None), (10, False)]


def test_within_one_stream_a_hole_means_skipped_open_states_and_is_not_told() -> None:
    feed = BarFeed()
    reader = feed.follow(policy="buffer")
    feed.bar(0, EARLY)
    feed.sequences["1m A"] = 9
    feed.bar(60)
    assert told(reader) == [(1, None), (10, None)]
    # But who left before it cannot be given all that it missed.
    assert told(feed.follow(resume=Resume(EPOCH, {"A": 1}))) == [(10, False)]


def test_who_subscribes_before_a_new_stream_said_what_is_open_gets_only_what_it_says() -> None:
    feed = BarFeed()
    feed.follow()
    feed.bar(0)
    second = feed.bar(60)
    feed.hub.begin_stream(["1m"])
    early = feed.follow(policy="buffer")
    assert early.is_empty
    feed.hub.publish_bars([second])
    feed.hub.publish_bars([second])
    feed.bar(60)
    assert told(early) == [(2, None), (3, None)]
    assert told(feed.follow()) == [(3, None)]


def test_a_restart_of_the_aggregator_is_told() -> None:
    feed = BarFeed()
    reader = feed.follow()
    feed.bar(0)
    assert told(reader) == [(1, None)]
    feed.restart()
    feed.hub.begin_stream(["1m"])
    assert told(feed.follow()) == []
    feed.bar(0)
    assert told(reader) == [(1, False)]


def test_an_interval_that_is_none_or_not_made_is_refused_naming_those_that_are() -> None:
    feed = BarFeed()
    with pytest.raises(InvalidInterval, match="'7x' is not one of 1s 1m"):
        feed.follow(interval="7x")
    feed.follow(interval="2m")
    feed.hub.begin_stream(["1s", "1m"])
    with pytest.raises(InvalidInterval, match=r"of 1s 1m$"):
        feed.follow(interval="2m")
    assert feed.hub.subscriptions == 1


def test_bars_count_as_followed_and_linger() -> None:
    feed = BarFeed(max_symbols=2)
    first = feed.follow(["A", "B"])
    with pytest.raises(TooManySymbols):
        feed.subscribe(["C"])
    feed.bar(0)
    feed.hub.unsubscribe(first)
    feed.hub.take_interest_changes()
    feed.hub.expire(60)
    assert feed.hub.take_interest_changes()[1] == {BarTopic("1m", "A"), BarTopic("1m", "B")}
    assert states(feed.follow()) == []


def test_what_a_wildcard_of_bars_leaves_is_forgotten_but_for_named_symbols() -> None:
    feed = BarFeed()
    feed.follow(["A"])
    wildcard = feed.follow(None)
    feed.bar(0)
    feed.bar(0, symbol="B")
    feed.hub.unsubscribe(wildcard)
    feed.hub.expire(60)
    assert states(feed.follow(["A"])) == [("A", 0, PARTIAL)]
    assert states(feed.follow(["B"])) == []


STEP = st.one_of(
    st.tuples(st.just("publish"), st.integers(0, 3)),
    st.tuples(st.just("close"), st.integers(0, 3)),
    st.tuples(st.just("read"), st.integers(1, 4)),
)


@given(st.lists(STEP, max_size=60))
def test_a_slow_reader_of_bars_sees_each_closed_one_and_sequences_that_only_grow(
    steps: list[tuple[str, int]],
) -> None:
    feed = BarFeed()
    reader = feed.follow()
    published: dict[int, tuple[int, bool]] = {}
    seen: list[BarUpdate] = []
    revisions: dict[int, int] = {}

    def read(count: int) -> None:
        for _ in range(count):
            delivery = reader.take()
            if delivery is not None:
                assert isinstance(delivery.update, BarUpdate)
                seen.append(delivery.update)

    for step, number in steps:
        if step == "read":
            read(number)
            continue
        revision = revisions.get(number)
        if step == "close":
            revisions[number] = 0 if revision is None else revision + 1
            state = FINAL if revision is None else REVISED
            bar = feed.bar(number, state, revision=revisions[number])
        elif revision is None:
            bar = feed.bar(number)
        else:
            continue
        published[number] = bar.sequence, step == "close"
    read(100)
    sequences = [each.sequence for each in seen]
    assert sequences == sorted(set(sequences))
    newest = {each.bar.start: each.sequence for each in seen}
    assert newest == {start: sequence for start, (sequence, _) in published.items()}
