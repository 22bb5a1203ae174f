"""Acks of batches are joined only where the producer lets them wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aggregator.rpc.acks import MAX_JOINED, JoinedAcks
from marketdata.load import LoadMeter
from marketdata.wire.market_data_pb2 import BatchAck, Rejection


def make_acks() -> JoinedAcks:
    return JoinedAcks(LoadMeter())


def ack(last: int, accepted: int = 1, rejected: int = 0) -> BatchAck:
    rejections = [Rejection(sequence=last, reason="too_many_symbols")] * rejected
    return BatchAck(last_sequence=last, accepted=accepted, rejections=rejections)


def test_each_batch_gets_its_own_ack_at_once() -> None:
    acks = make_acks()
    acks.add(ack(1), may_wait=False)
    acks.add(ack(2), may_wait=False)
    assert [each.last_sequence for each in acks.take()] == [1, 2]


def test_the_ack_of_a_batch_waits_for_the_next_one() -> None:
    acks = make_acks()
    acks.add(ack(1), may_wait=True)
    assert acks.take() == []
    assert acks.is_waiting
    acks.add(ack(3, accepted=2), may_wait=True)
    (joined,) = acks.take()
    assert (joined.last_sequence, joined.accepted) == (3, 3)
    assert not acks.is_waiting


def test_an_ack_with_rejections_does_not_wait() -> None:
    acks = make_acks()
    acks.add(ack(1, rejected=1), may_wait=True)
    assert acks.due == 1


def test_the_ack_of_another_producer_lets_the_one_before_go_first() -> None:
    acks = make_acks()
    acks.add(ack(1), may_wait=True)
    acks.add(ack(7), may_wait=False)
    assert [each.last_sequence for each in acks.take()] == [1, 7]


def test_a_batch_without_ticks_is_not_joined_with_the_one_before() -> None:
    acks = make_acks()
    acks.add(ack(5), may_wait=True)
    acks.add(ack(5, accepted=0), may_wait=True)
    acks.release()
    assert [each.last_sequence for each in acks.take()] == [5, 5]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 2))))
def test_no_tick_is_left_out_of_the_sums(batches: list[tuple[bool, int, int]]) -> None:
    acks, last = make_acks(), 0
    expected_accepted = expected_rejected = 0
    found: list[BatchAck] = []
    for may_wait, accepted, rejected in batches:
        last += accepted + rejected
        expected_accepted += accepted
        expected_rejected += rejected
        acks.add(ack(last, accepted, rejected), may_wait=may_wait)
        found += acks.take()
    acks.release()
    found += acks.take()
    assert sum(each.accepted for each in found) == expected_accepted
    assert sum(len(each.rejections) for each in found) == expected_rejected
    sequences = [each.last_sequence for each in found]
    assert sequences == sorted(sequences)
    assert not batches or sequences[-1] == last
    assert len(found) * MAX_JOINED >= len(batches)
