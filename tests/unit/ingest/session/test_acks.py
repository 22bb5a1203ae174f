"""The acks of a producer say what became of each of its ticks, once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.ring import Batch, BatchRing
from ingest.session.acks import MAX_REJECTIONS, AckMerger
from ingest.session.batches import SessionBatch
from ingest.session.frames import encode_answer
from ingest.session.producers import SessionProducer, SessionProducers
from marketdata.validation import RejectReason
from marketdata.wire.market_data_pb2 import BatchAck, Rejection

NEGATIVE, FUTURE = RejectReason.PRICE_NOT_POSITIVE, RejectReason.TIMESTAMP_IN_FUTURE


def make_batch(last_sequence: int, *rejected: int) -> Batch:
    return Batch(last_sequence, 10, b"", rejections=[(each, NEGATIVE) for each in rejected])


def test_rejections_of_ingest_and_aggregator_are_in_the_order_of_their_sequences() -> None:
    merger = AckMerger()
    rejections = [Rejection(sequence=2, reason=FUTURE), Rejection(sequence=9, reason=FUTURE)]
    merger.add(make_batch(10, 1, 5), BatchAck(last_sequence=10, accepted=6, rejections=rejections))
    (ack,) = merger.take()
    assert [(each.sequence, each.reason) for each in ack.rejections] == [
        (1, NEGATIVE),
        (2, FUTURE),
        (5, NEGATIVE),
        (9, FUTURE),
    ]
    assert merger.take() == []


def test_acks_that_come_together_are_one() -> None:
    merger = AckMerger()
    merger.add(make_batch(10, 3), BatchAck(last_sequence=10, accepted=9))
    merger.add(make_batch(20), BatchAck(last_sequence=20, accepted=4, duplicates=6))
    (ack,) = merger.take()
    assert (ack.last_sequence, ack.accepted, ack.duplicates) == (20, 13, 6)
    assert len(ack.rejections) == 1


def test_a_batch_that_was_sent_again_does_not_lower_the_sequence() -> None:
    merger = AckMerger()
    merger.add(make_batch(20), BatchAck(last_sequence=20, accepted=10))
    merger.add(make_batch(10), BatchAck(last_sequence=10, duplicates=10))
    (ack,) = merger.take()
    assert (ack.last_sequence, ack.accepted, ack.duplicates) == (20, 10, 10)


@given(st.lists(st.integers(0, MAX_REJECTIONS), max_size=6))
def test_acks_with_many_rejections_have_less_than_a_million_bytes(counts: list[int]) -> None:
    merger, last = AckMerger(), 2**62
    for count in counts:
        first, last = last + 1, last + MAX_REJECTIONS
        rejections = [(first + index, FUTURE) for index in range(count)]
        merger.add(
            Batch(last, MAX_REJECTIONS, b"", rejections=rejections), BatchAck(last_sequence=last)
        )
    acks = merger.take()
    assert sum(len(ack.rejections) for ack in acks) == sum(counts)
    assert all(len(encode_answer(ack)) <= 1_000_000 for ack in acks)
    assert not acks or acks[-1].last_sequence == last


class RecordingSession:
    def __init__(self) -> None:
        self.acks: list[int] = []
        self.replaced = 0

    def replace(self) -> None:
        self.replaced += 1

    def batch_acked(self, batch: Batch, ack: BatchAck) -> None:
        assert batch.last_sequence == ack.last_sequence
        self.acks.append(ack.last_sequence)


def make_producers(max_batches: int = 8, max_bytes: int = 1000) -> SessionProducers:
    return SessionProducers(
        BatchRing(
            producer_id="ingest-1",
            first_sequence=100,
            batch_ticks=3,
            max_batches=max_batches,
            max_bytes=max_bytes,
        )
    )


def ack_next(producers: SessionProducers) -> None:
    batch = producers.ring.next_unsent()
    assert batch is not None
    assert isinstance(batch.owner, SessionProducer)
    (acked,) = producers.ring.acknowledge(batch.last_sequence)
    batch.owner.batch_acked(acked, BatchAck(last_sequence=acked.last_sequence))


def test_a_producer_has_one_session_and_the_newest_wins() -> None:
    producers = make_producers()
    first, second = RecordingSession(), RecordingSession()
    producer = producers.join("a", first)
    assert producers.join("a", second) is producer
    assert (first.replaced, second.replaced) == (1, 0)
    producer.leave(first)
    assert producer.session is second


def test_the_batches_of_an_ended_session_are_acked_and_then_forgotten() -> None:
    producers = make_producers()
    session = RecordingSession()
    producer = producers.join("a", session)
    producer.add(SessionBatch(1, 2, b"data", []))
    producer.leave(session)
    assert len(producers) == 1
    later = RecordingSession()
    assert producers.join("a", later) is producer
    producer.leave(later)
    ack_next(producers)
    assert (session.acks, later.acks) == ([], [])
    assert len(producers) == 0


def test_a_producer_has_its_share_of_the_ring_and_always_one_batch() -> None:
    producers = make_producers(max_batches=8)
    producer = producers.join("a", RecordingSession())
    producer.add(SessionBatch(1, 1, b"", []))
    assert not producer.is_at_limit
    producer.add(SessionBatch(2, 1, b"", []))
    assert producer.is_at_limit
    other = producers.join("b", RecordingSession())
    other.add(SessionBatch(1, 1, b"x" * 250, []))
    assert other.is_at_limit
    ack_next(producers)
    assert not producer.is_at_limit
    small = make_producers(max_batches=1).join("c", RecordingSession())
    assert not small.is_at_limit
