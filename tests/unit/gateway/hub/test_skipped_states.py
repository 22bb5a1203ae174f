"""States that the aggregator left out: a hole for readers that buffer, conflation for others."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.hub.batch import Batch
from gateway.hub.subscription import Subscription
from gateway.hub.updates import ALL, Buffered, Delivery
from tests.unit.gateway.hub.test_hub import Feed, resume, take_all, told


def skip(feed: Feed, count: int, symbol: str = "A") -> None:
    """Let the aggregator leave out so many states."""
    feed.sequences[symbol] += count


def conflated(subscription: Subscription) -> list[tuple[int, bool | None, int]]:
    return [(d.update.sequence, d.recovered, d.conflated) for d in take_all(subscription)]


class Prompt:
    """A subscriber that keeps up: it notes what is sent in one go."""

    def __init__(self) -> None:
        self.sent: list[Delivery] = []

    def send(self, subscription: Subscription, batch: Batch) -> bool:
        self.sent += batch.encoded(subscription.policy, list)
        return True


def test_for_a_reader_that_conflates_skipped_states_count_as_conflated() -> None:
    feed = Feed()
    live = feed.subscribe(["A"], policy="conflate")
    feed.publish("A")
    assert conflated(live) == [(1, None, 0)]
    skip(feed, 3)
    feed.publish("A")
    assert conflated(live) == [(5, None, 3)]
    feed.publish("A")
    skip(feed, 2)
    feed.publish("A", "A")
    assert conflated(live) == [(10, None, 4)]
    assert (live.conflated, feed.hub.conflated) == (7, 7)


def test_a_reader_that_conflates_and_keeps_up_is_sent_how_many_were_skipped() -> None:
    feed, prompt = Feed(), Prompt()
    feed.reader.send = prompt.send  # type: ignore[method-assign]
    one = feed.subscribe(["A"], policy="conflate")
    every = feed.subscribe(None, policy="conflate")
    feed.publish("A")
    skip(feed, 3)
    feed.publish("A", "B", "A")
    assert [(d.update.sequence, d.conflated) for d in prompt.sent] == [
        *((1, 0), (1, 0)),
        *((6, 4), (6, 4), (1, 0)),
    ]
    assert one.conflated == every.conflated == 4


def test_for_a_reader_that_buffers_skipped_states_are_a_hole() -> None:
    feed, prompt = Feed(), Prompt()
    live = feed.subscribe(["A"])
    feed.publish("A")
    feed.reader.send = prompt.send  # type: ignore[method-assign]
    assert told(live) == [(1, None)]
    skip(feed, 3)
    feed.publish("A", "A")
    assert told(live) == [(5, False), (6, None)]
    assert prompt.sent == []


def test_the_present_state_is_no_hole_whatever_was_skipped_before_it() -> None:
    feed = Feed()
    feed.subscribe(["A"])
    feed.publish("A")
    skip(feed, 3)
    feed.publish("A")
    for policy in ("buffer", "conflate"):
        assert conflated(feed.subscribe(["A"], policy=policy)) == [(5, None, 0)]


def test_a_reader_that_comes_back_is_told_that_states_were_skipped() -> None:
    feed = Feed()
    feed.subscribe(["A"])
    feed.publish("A", "A")
    skip(feed, 3)
    feed.publish("A", "A")
    for policy in ("buffer", "conflate"):
        assert told(feed.subscribe(["A"], policy=policy, resume=resume(2))) == [(7, False)]
        assert told(feed.subscribe(["A"], policy=policy, resume=resume(7))) == []
    assert told(feed.subscribe(["A"], resume=resume(5))) == [(6, True), (7, True)]
    assert conflated(feed.subscribe(["A"], "conflate", resume=resume(5))) == [(7, True, 1)]
    again = feed.subscribe(["A"], "conflate", resume=resume(7))
    skip(feed, 1)
    feed.publish("A")
    # Not all it missed came.
    assert conflated(again) == [(9, False, 0)]


def test_a_new_stream_that_begins_later_is_a_hole_for_everybody() -> None:
    feed = Feed()
    both = feed.subscribe(["A", "B"]), feed.subscribe(["A", "B"], policy="conflate")
    feed.publish("A", "B")
    for each in both:
        take_all(each)
    feed.hub.begin_stream(None)
    # Nothing of B is missing.
    skip(feed, 2)
    feed.hub.publish([feed.aggregate("A"), feed.aggregate("B")])
    for each in both:
        assert told(each) == [(3, False)]
    skip(feed, 1, "B")
    feed.publish("B")
    assert [told(each) for each in both] == [[(3, False)], [(3, None)]]


def test_only_readers_that_buffer_need_every_state() -> None:
    feed = Feed()
    feed.subscribe(["A"], policy="conflate")
    buffering = feed.subscribe(["A", "B"])
    everything = feed.subscribe(None)
    wanted = {"A", "B", ALL, Buffered("A"), Buffered("B"), Buffered(ALL)}
    assert feed.hub.take_interest_changes() == (wanted, set())
    assert set(feed.hub.followed_topics()) == wanted
    assert feed.hub.topics == 3
    feed.hub.unsubscribe(buffering)
    feed.hub.unsubscribe(everything)
    assert feed.hub.take_interest_changes() == (set(), set())
    # A client that comes back misses nothing.
    feed.clock.now = 59
    feed.subscribe(["B"])
    feed.hub.expire(60)
    gone = {ALL, Buffered(ALL), Buffered("A")}
    assert feed.hub.take_interest_changes() == (set(), gone)


@given(st.integers(0, 2**32))
def test_no_reader_is_silent_about_a_hole_and_none_takes_conflation_for_one(seed: int) -> None:
    random = Random(seed)
    feed = Feed()
    readers = {policy: feed.subscribe(["A"], policy=policy) for policy in ("buffer", "conflate")}
    last = dict.fromkeys(readers, 0)
    feed.publish("A")
    for _ in range(30):
        step = random.choice(["publish", "publish", "skip", "stream", "read"])
        if step == "publish":
            feed.publish(*["A"] * random.randint(1, 3))
        elif step == "skip":
            skip(feed, random.randint(1, 3))
        elif step == "stream":
            feed.hub.begin_stream(None)
            feed.hub.publish([feed.aggregate("A")])
        for policy, subscription in readers.items():
            if random.random() < 0.5:
                continue
            for delivery in take_all(subscription):
                sequence = delivery.update.sequence
                assert sequence > last[policy]
                if delivery.recovered is not False:
                    assert sequence == last[policy] + 1 + delivery.conflated
                last[policy] = sequence
