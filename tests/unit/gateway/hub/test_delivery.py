"""What reaches a client, whether it keeps up or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.hub.batch import Batch
from gateway.hub.history import History
from gateway.hub.hub import Hub
from gateway.hub.pending import Pending
from gateway.hub.subscription import Resume, Subscription
from gateway.hub.updates import Delivery, FeedStatus, Policy
from marketdata.wire.market_data_pb2 import Aggregate


class Reader:
    """A subscriber that is sent what comes while ``keeps_up``, and the rest by ``read``."""

    def __init__(
        self, hub: Hub, symbols: Sequence[str] | None, policy: Policy, resume: Resume | None = None
    ) -> None:
        self.hub = hub
        self.keeps_up = True
        self.got: list[Delivery] = []
        self.batches = 0
        self.subscription = Subscription(symbols, policy, resume)
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

    def send(self, subscription: Subscription, batch: Batch) -> bool:
        if self.keeps_up:
            self.batches += 1
            self.got += batch.encoded(subscription.policy, tuple)
        return self.keeps_up


def make_hub() -> Hub:
    return Hub(History(1000, 60), linger_s=60, max_symbols=100, clock=lambda: 0.0)


def states(*sequences: int, symbol: str = "AAPL", epoch: int = 1) -> list[bytes]:
    return [
        Aggregate(symbol=symbol, sequence=n, epoch=epoch).SerializeToString() for n in sequences
    ]


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


def test_a_batch_is_encoded_once_for_all_that_are_sent_the_same() -> None:
    encoded: list[list[int]] = []

    def encode(deliveries: Sequence[Delivery]) -> int:
        encoded.append([each.update.sequence for each in deliveries])
        return len(encoded)

    sent: list[int] = []

    class Encoding(Reader):
        def send(self, subscription: Subscription, batch: Batch) -> bool:
            sent.append(batch.encoded(subscription.policy, encode))
            return True

    hub = make_hub()
    for number in range(4):
        Encoding(hub, ["AAPL"], "buffer" if number % 2 else "conflate")
    hub.publish(states(1, 2, 3))
    assert sorted(encoded) == [[1, 2, 3], [3]]
    assert len(sent) == 4
    assert len(set(sent)) == 2


def test_what_does_not_continue_waits_and_says_so() -> None:
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
    assert reader.batches == 2


def test_who_resumes_is_told_first_whether_that_was_possible() -> None:
    hub = make_hub()
    hub.subscribe(Subscription(["AAPL"]), Reader(hub, [], "buffer"))
    hub.publish(states(1, 2, 3))
    reader = Reader(hub, ["AAPL"], "buffer", Resume(1, {"AAPL": 1}))
    hub.publish(states(4, 5))
    assert reader.batches == 0
    reader.read()
    hub.publish(states(6))
    assert [(each.update.sequence, each.recovered) for each in reader.got] == [
        (2, True),
        (3, True),
        (4, None),
        (5, None),
        (6, None),
    ]
    assert reader.batches == 1


@given(st.lists(st.one_of(st.integers(), st.none())))
def test_pending_is_a_queue_that_is_not_there_while_it_is_empty(steps: list[int | None]) -> None:
    pending: Pending[int] = Pending()
    expected: list[int] = []
    for step in steps:
        if step is not None:
            pending.append(step)
            expected.append(step)
        elif expected:
            assert pending.first == expected[0]
            assert pending.popleft() == expected.pop(0)
        assert (len(pending), bool(pending), list(pending)) == (
            len(expected),
            bool(expected),
            expected,
        )
    pending.extend([1, 2])
    pending.clear()
    assert not pending
