"""The ring: every tick is held from its arrival until its ack."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.ring import Batch, BatchRing, UnexpectedAck
from marketdata.wire.market_data_pb2 import BatchAck, FeedReport, Tick, TickBatch


def make_ring(batch_ticks: int = 3, max_batches: int = 2) -> BatchRing:
    return BatchRing(
        producer_id="p", first_sequence=100, batch_ticks=batch_ticks, max_batches=max_batches
    )


def record(number: int) -> bytes:
    return TickBatch(ticks=[Tick(volume=number)]).SerializeToString()


def add(ring: BatchRing, records: list[bytes]) -> bool:
    """Add ``records`` and return whether a batch was closed."""
    before = ring.closed_batches
    for each in records:
        ring.add(each)
    return ring.closed_batches > before


def volumes(batch: TickBatch) -> list[int]:
    return [tick.volume for tick in batch.ticks]


def send_all(ring: BatchRing) -> list[TickBatch]:
    sent = []
    while (batch := ring.next_unsent()) is not None:
        sent.append(TickBatch.FromString(batch.data))
    return sent


def test_a_full_batch_leaves_and_the_rest_waits() -> None:
    ring = make_ring()
    assert add(ring, [record(i) for i in range(1, 5)])
    (batch,) = send_all(ring)
    assert (batch.producer_id, batch.first_sequence, volumes(batch)) == ("p", 100, [1, 2, 3])
    assert ring.open_ticks == 1


def test_what_was_written_to_its_memory_is_taken_in() -> None:
    ring = make_ring()
    add(ring, [record(1)])
    assert ring.room == 2
    written = record(2) + record(3)
    ctypes.memmove(ring.address, written, len(written))
    ring.advance(ring.address + len(written), 2)
    assert [volumes(batch) for batch in send_all(ring)] == [[1, 2, 3]]
    assert (ring.room, ring.open_ticks, ring.unacked_ticks) == (3, 0, 3)


def test_adding_less_than_a_batch_closes_none() -> None:
    ring = make_ring()
    assert not add(ring, [record(1)])
    assert send_all(ring) == []


def test_closing_makes_a_small_batch_and_nothing_of_nothing() -> None:
    ring = make_ring()
    add(ring, [record(7)])
    ring.close_batch()
    ring.close_batch()
    assert [volumes(batch) for batch in send_all(ring)] == [[7]]


def test_unacked_batches_are_sent_again_after_a_rewind() -> None:
    ring = make_ring(batch_ticks=1, max_batches=5)
    add(ring, [record(i) for i in range(3)])
    assert len(send_all(ring)) == 3
    ring.acknowledge(100)
    ring.rewind()
    assert [batch.first_sequence for batch in send_all(ring)] == [101, 102]


def test_the_ring_is_full_until_an_ack_comes() -> None:
    ring = make_ring(batch_ticks=1, max_batches=2)
    add(ring, [record(1)])
    assert not ring.is_full
    add(ring, [record(2)])
    assert ring.is_full
    assert ring.free_batches == 0
    send_all(ring)
    ring.acknowledge(100)
    assert not ring.is_full


REPORT = FeedReport(producers=1, since=7)


def test_a_report_goes_with_the_ticks_and_alone_where_there_are_none() -> None:
    ring = make_ring()
    add(ring, [record(1), record(2)])
    ring.close_batch(REPORT)
    ring.close_batch(REPORT)
    add(ring, [record(3)])
    ring.close_batch()
    sent = send_all(ring)
    assert [(b.first_sequence, len(b.ticks), b.HasField("feed")) for b in sent] == [
        (100, 2, True),
        (102, 0, True),
        (102, 1, False),
    ]
    assert sent[0].feed == sent[1].feed == REPORT
    assert {b.producer_id for b in sent} == {"p"}


def test_each_batch_says_that_prices_of_0_and_below_are_meant_where_they_are() -> None:
    for any_price in (False, True):
        ring = BatchRing(
            producer_id="p", first_sequence=1, batch_ticks=2, max_batches=9, any_price=any_price
        )
        add(ring, [record(1), record(2), record(3)])
        ring.close_batch()
        ring.close_batch(REPORT)
        assert [batch.any_price for batch in send_all(ring)] == [any_price] * 3


def test_each_batch_is_acked_by_its_own_ack_with_or_without_ticks() -> None:
    ring = make_ring(batch_ticks=1, max_batches=9)
    add(ring, [record(1)])
    ring.close_batch(REPORT)
    ring.close_batch(REPORT)
    add(ring, [record(2)])
    sent = send_all(ring)
    left = []
    for batch in sent:
        ring.acknowledge(batch.first_sequence + len(batch.ticks) - 1)
        left.append(9 - ring.free_batches)
    assert left == [3, 2, 1, 0]


def test_a_report_that_was_not_sent_is_not_acked() -> None:
    ring = make_ring(batch_ticks=1, max_batches=9)
    add(ring, [record(1)])
    send_all(ring)
    ring.close_batch(REPORT)
    ring.acknowledge(100)
    ring.acknowledge(100)
    assert [batch.feed for batch in send_all(ring)] == [REPORT]


def test_reports_alone_are_nothing_that_could_be_lost() -> None:
    ring = make_ring()
    ring.close_batch(REPORT)
    assert ring.is_empty
    assert ring.unanswered == 1
    assert ring.unacked_ticks == 0


def test_a_stream_begins_with_one_greeting_and_then_all_that_was_not_acked() -> None:
    ring = make_ring(batch_ticks=1, max_batches=9)
    ring.rewind(FeedReport(producers=5))
    add(ring, [record(1), record(2)])
    send_all(ring)
    # The greeting was not acked; the next one takes its place.
    ring.rewind(REPORT)
    sent = send_all(ring)
    assert [(b.first_sequence, len(b.ticks)) for b in sent] == [(100, 0), (100, 1), (101, 1)]
    assert sent[0].feed == REPORT
    ring.acknowledge(99)
    ring.acknowledge(100)
    ring.rewind(REPORT)
    sent = send_all(ring)
    assert [(b.first_sequence, len(b.ticks)) for b in sent] == [(101, 0), (101, 1)]


@given(
    st.lists(
        st.one_of(
            st.integers(1, 10).map(lambda n: ("add", n)),
            st.just(("close", 0)),
            st.just(("report", 0)),
            st.just(("send", 0)),
            st.integers(0, 4).map(lambda n: ("ack", n)),
            st.just(("rewind", 0)),
            st.just(("greet", 0)),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_aggregator_can_rebuild_the_exact_sequence(
    steps: list[tuple[str, int]],
) -> None:
    ring = make_ring(batch_ticks=3, max_batches=10**9)
    given_ticks = 0
    received: dict[int, int] = {}
    in_flight: list[int] = []
    for step, n in steps:
        if step == "add":
            add(ring, [record(given_ticks + i) for i in range(n)])
            given_ticks += n
        elif step == "close":
            ring.close_batch()
        elif step == "report":
            ring.close_batch(REPORT)
        elif step in {"rewind", "greet"}:
            ring.rewind(REPORT if step == "greet" else None)
            in_flight.clear()
        elif step == "send":
            if (sent := ring.next_unsent()) is not None:
                batch = TickBatch.FromString(sent.data)
                for i, volume in enumerate(volumes(batch)):
                    # The same sequence is always the same tick.
                    assert received.setdefault(batch.first_sequence + i, volume) == volume
                in_flight.append(sent.last_sequence)
        elif in_flight:
            last = in_flight[min(n, len(in_flight) - 1)]
            ring.acknowledge(last)
            in_flight = [sequence for sequence in in_flight if sequence > last]
    ring.close_batch()
    ring.rewind()
    for batch in send_all(ring):
        received.update(
            {batch.first_sequence + i: volume for i, volume in enumerate(volumes(batch))}
        )
    assert received == {100 + i: i for i in range(given_ticks)}
    ring.acknowledge(100 + given_ticks)
    assert ring.is_empty
    assert ring.unacked_ticks == 0


class Owner:
    def batch_acked(self, batch: Batch, ack: BatchAck) -> None:
        """Take nothing."""


def owned(first: int, count: int, producer_id: str = "s") -> Batch:
    ticks = [Tick(volume=first + index) for index in range(count)]
    sent = TickBatch(producer_id=producer_id, first_sequence=first, ticks=ticks)
    return Batch(first + count - 1, count, sent.SerializeToString(), owner=Owner())


def test_batches_of_several_producers_are_sent_and_acked_in_their_order() -> None:
    ring = make_ring(batch_ticks=1, max_batches=9)
    add(ring, [record(1)])
    ring.add_batch(owned(1, 5))
    add(ring, [record(2)])
    ring.add_batch(owned(1, 3, "t"))
    sent = [(batch.producer_id, batch.first_sequence) for batch in send_all(ring)]
    assert sent == [("p", 100), ("s", 1), ("p", 101), ("t", 1)]
    assert (ring.unacked_ticks, ring.unowned_ticks) == (10, 2)
    owners = []
    for last in (100, 5, 101, 3):
        (acked,) = ring.acknowledge(last)
        owners.append(acked.owner is not None)
    assert owners == [False, True, False, True]
    assert ring.is_empty
    assert not ring.unanswered


@pytest.mark.parametrize("wrong", [4, 6, 100])
def test_an_ack_of_anything_but_the_oldest_batch_of_a_session_is_an_error(wrong: int) -> None:
    ring = make_ring(batch_ticks=1, max_batches=9)
    ring.add_batch(owned(1, 5))
    ring.add_batch(owned(6, 1))
    send_all(ring)
    with pytest.raises(UnexpectedAck):
        ring.acknowledge(wrong)
    assert ring.unacked_ticks == 6


def test_the_greeting_has_the_sequence_of_the_first_unacked_tick_of_v1_frames() -> None:
    ring = make_ring(batch_ticks=1, max_batches=9)
    ring.add_batch(owned(7, 2))
    add(ring, [record(1)])
    ring.rewind(REPORT)
    sent = [(batch.producer_id, batch.first_sequence) for batch in send_all(ring)]
    assert sent == [("p", 100), ("s", 7), ("p", 100)]
    ring.rewind(REPORT)
    assert len(send_all(ring)) == 3


def test_the_ring_is_full_by_bytes_and_idle_without_batches_of_its_own() -> None:
    ring = BatchRing(producer_id="p", first_sequence=1, batch_ticks=3, max_batches=9, max_bytes=500)
    while not ring.is_full:
        ring.add_batch(owned(1, 20))
    assert ring.free_batches == 0
    assert ring.is_half_full
    assert not ring.unanswered
    assert ring.unacked_ticks < 9 * 20
    send_all(ring)
    while ring.unacked_ticks:
        ring.acknowledge(20)
    assert not ring.is_half_full
