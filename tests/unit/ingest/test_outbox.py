"""The ring: every tick is held from its arrival until its ack."""

from __future__ import annotations

import ctypes

from hypothesis import given
from hypothesis import strategies as st

from ingest.outbox import Outbox
from marketdata.wire.market_data_pb2 import Tick, TickBatch


def make_outbox(batch_ticks: int = 3, max_batches: int = 2) -> Outbox:
    return Outbox(
        producer_id="p", first_sequence=100, batch_ticks=batch_ticks, max_batches=max_batches
    )


def piece(number: int) -> bytes:
    return TickBatch(ticks=[Tick(volume=number)]).SerializeToString()


def add(outbox: Outbox, pieces: list[bytes]) -> bool:
    """Add ``pieces`` and return whether a batch was closed."""
    before = outbox.closed_batches
    for each in pieces:
        outbox.add(each)
    return outbox.closed_batches > before


def volumes(batch: TickBatch) -> list[int]:
    return [tick.volume for tick in batch.ticks]


def send_all(outbox: Outbox) -> list[TickBatch]:
    sent = []
    while (batch := outbox.next_unsent()) is not None:
        sent.append(TickBatch.FromString(batch.data))
    return sent


def test_a_full_batch_leaves_and_the_rest_waits() -> None:
    outbox = make_outbox()
    assert add(outbox, [piece(i) for i in range(1, 5)])
    (batch,) = send_all(outbox)
    assert (batch.producer_id, batch.first_sequence, volumes(batch)) == ("p", 100, [1, 2, 3])
    assert outbox.open_ticks == 1


def test_what_was_written_to_its_memory_is_taken_in() -> None:
    outbox = make_outbox()
    add(outbox, [piece(1)])
    assert outbox.room == 2
    written = piece(2) + piece(3)
    ctypes.memmove(outbox.address, written, len(written))
    outbox.advance(outbox.address + len(written), 2)
    assert [volumes(batch) for batch in send_all(outbox)] == [[1, 2, 3]]
    assert (outbox.room, outbox.open_ticks, outbox.unacked_ticks) == (3, 0, 3)


def test_adding_less_than_a_batch_closes_none() -> None:
    outbox = make_outbox()
    assert not add(outbox, [piece(1)])
    assert send_all(outbox) == []


def test_closing_makes_a_small_batch_and_nothing_of_nothing() -> None:
    outbox = make_outbox()
    add(outbox, [piece(7)])
    outbox.close_batch()
    outbox.close_batch()
    assert [volumes(batch) for batch in send_all(outbox)] == [[7]]


def test_unacked_batches_are_sent_again_after_a_rewind() -> None:
    outbox = make_outbox(batch_ticks=1, max_batches=5)
    add(outbox, [piece(i) for i in range(3)])
    assert len(send_all(outbox)) == 3
    outbox.acknowledge(100)
    outbox.rewind()
    assert [batch.first_sequence for batch in send_all(outbox)] == [101, 102]


def test_the_ring_is_full_until_an_ack_comes() -> None:
    outbox = make_outbox(batch_ticks=1, max_batches=2)
    add(outbox, [piece(1)])
    assert not outbox.is_full
    add(outbox, [piece(2)])
    assert outbox.is_full
    assert outbox.free_batches == 0
    send_all(outbox)
    outbox.acknowledge(100)
    assert not outbox.is_full


@given(
    st.lists(
        st.one_of(
            st.integers(1, 10).map(lambda n: ("add", n)),
            st.just(("close", 0)),
            st.just(("send", 0)),
            st.integers(0, 4).map(lambda n: ("ack", n)),
            st.just(("rewind", 0)),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_aggregator_can_rebuild_the_exact_sequence(
    steps: list[tuple[str, int]],
) -> None:
    outbox = make_outbox(batch_ticks=3, max_batches=10**9)
    given_ticks = 0
    received: dict[int, int] = {}
    in_flight: list[int] = []
    for step, n in steps:
        if step == "add":
            add(outbox, [piece(given_ticks + i) for i in range(n)])
            given_ticks += n
        elif step == "close":
            outbox.close_batch()
        elif step == "rewind":
            outbox.rewind()
            in_flight.clear()
        elif step == "send":
            if (sent := outbox.next_unsent()) is not None:
                batch = TickBatch.FromString(sent.data)
                for i, volume in enumerate(volumes(batch)):
                    # The same sequence is always the same tick.
                    assert received.setdefault(batch.first_sequence + i, volume) == volume
                in_flight.append(sent.last_sequence)
        elif in_flight:
            last = in_flight[min(n, len(in_flight) - 1)]
            outbox.acknowledge(last)
            in_flight = [sequence for sequence in in_flight if sequence > last]
    outbox.close_batch()
    outbox.rewind()
    for batch in send_all(outbox):
        received.update(
            {batch.first_sequence + i: volume for i, volume in enumerate(volumes(batch))}
        )
    assert received == {100 + i: i for i in range(given_ticks)}
    outbox.acknowledge(100 + given_ticks)
    assert outbox.is_empty
    assert outbox.unacked_ticks == 0
