"""The short way to a client that keeps up: it changes nothing of what arrives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from gateway.hub.burst import Burst
from gateway.hub.history import History
from gateway.hub.hub import FeedStatus, Hub
from gateway.hub.line import Line
from gateway.hub.subscription import Resume, Subscription
from gateway.hub.updates import Delivery, Policy
from marketdata.wire.market_data_pb2 import Aggregate


class Reader:
    """A subscriber with a lane; sent what comes while ``keeps_up``, and the rest by ``read``."""

    def __init__(
        self, hub: Hub, symbols: Sequence[str] | None, policy: Policy, resume: Resume | None = None
    ) -> None:
        self.hub = hub
        self.keeps_up = True
        self.got: list[Delivery] = []
        self.bursts = 0
        self.subscription = Subscription(symbols, policy, resume)
        self.subscription.lane = partial(self._take_burst, policy)
        hub.subscribe(self.subscription, self)

    def flush(self, subscriptions: Iterable[Subscription]) -> None:
        if self.keeps_up:
            self.read()

    def on_status(self, status: FeedStatus) -> None:
        """Nobody is told."""

    def read(self) -> None:
        self.keeps_up = True
        while (delivery := self.subscription.take()) is not None:
            self.got.append(delivery)

    def _take_burst(self, policy: Policy, burst: Burst) -> bool:
        if self.keeps_up:
            self.bursts += 1
            self.got += burst.form(policy, tuple)
        return self.keeps_up


def make_hub() -> Hub:
    return Hub(History(1000, 60), linger_s=60, max_symbols=100, clock=lambda: 0.0)


def states(*sequences: int, symbol: str = "AAPL", epoch: int = 1) -> list[Aggregate]:
    return [Aggregate(symbol=symbol, sequence=n, epoch=epoch) for n in sequences]


SYMBOLS = st.sampled_from(["AAPL", "MSFT"])
# Symbols that change together; and whether the reader stalls or reads.
STEPS = st.lists(st.one_of(st.lists(SYMBOLS, max_size=6), st.booleans()), max_size=30)


@given(steps=STEPS, policy=st.sampled_from(["conflate", "buffer"]), everything=st.booleans())
def test_whatever_the_reader_does_it_misses_nothing_and_sees_nothing_twice(
    steps: list[list[str] | bool], policy: Policy, everything: bool
) -> None:
    hub = make_hub()
    reader = Reader(hub, None if everything else ["AAPL", "MSFT"], policy)
    sequences = {"AAPL": 0, "MSFT": 0}
    for step in steps:
        if step is True:
            reader.read()
        elif step is False:
            reader.keeps_up = False
        else:
            published = []
            for symbol in step:
                sequences[symbol] += 1
                published += states(sequences[symbol], symbol=symbol)
            hub.publish(published)
    reader.read()
    for symbol, last in sequences.items():
        got = [each for each in reader.got if each.update.symbol == symbol]
        # Each says how many were left out before it.
        counted = 0
        for update, recovered, conflated in got:
            counted += conflated + 1
            assert (update.sequence, recovered) == (counted, None)
            assert policy == "conflate" or not conflated
        assert counted == last
    assert hub.conflated == sum(each.conflated for each in reader.got)


def test_a_burst_is_encoded_once_for_all_who_are_sent_the_same() -> None:
    encoded: list[list[int]] = []

    def encode(deliveries: Sequence[Delivery]) -> int:
        encoded.append([each.update.sequence for each in deliveries])
        return len(encoded)

    hub, sent = make_hub(), []
    reader = Reader(hub, [], "buffer")
    for number in range(4):
        policy: Policy = "buffer" if number % 2 else "conflate"
        subscription = Subscription(["AAPL"], policy)

        def lane(burst: Burst, policy: Policy = policy) -> bool:
            sent.append(burst.form(policy, encode))
            return True

        subscription.lane = lane
        hub.subscribe(subscription, reader)
    hub.publish(states(1, 2, 3))
    assert sorted(encoded) == [[1, 2, 3], [3]]
    assert len(sent) == 4
    assert len(set(sent)) == 2


def test_what_does_not_continue_takes_the_long_way_that_says_so() -> None:
    hub = make_hub()
    reader = Reader(hub, ["AAPL"], "buffer")
    hub.publish(states(1))
    hub.publish(states(3))
    hub.publish(states(4))
    assert [(each.update.sequence, each.recovered) for each in reader.got] == [
        (1, None),
        (3, False),
        (4, None),
    ]
    assert reader.bursts == 2


def test_who_resumes_is_told_first_whether_that_was_possible() -> None:
    hub = make_hub()
    hub.subscribe(Subscription(["AAPL"]), Reader(hub, [], "buffer"))
    hub.publish(states(1, 2, 3))
    reader = Reader(hub, ["AAPL"], "buffer", Resume(1, {"AAPL": 1}))
    hub.publish(states(4, 5))
    assert reader.bursts == 0
    reader.read()
    hub.publish(states(6))
    assert [(each.update.sequence, each.recovered) for each in reader.got] == [
        (2, True),
        (3, True),
        (4, None),
        (5, None),
        (6, None),
    ]
    assert reader.bursts == 1


@given(st.lists(st.one_of(st.integers(), st.none())))
def test_a_line_is_a_queue_that_is_not_there_while_it_is_empty(steps: list[int | None]) -> None:
    line: Line[int] = Line()
    expected: list[int] = []
    for step in steps:
        if step is not None:
            line.append(step)
            expected.append(step)
        elif expected:
            assert line.first == expected[0]
            assert line.popleft() == expected.pop(0)
        assert (len(line), bool(line), list(line)) == (len(expected), bool(expected), expected)
    line.extend([1, 2])
    line.clear()
    assert not line
