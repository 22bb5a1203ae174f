"""Batches: each tick counts once, and the ack reports the rejected ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.candle import MAX_INT64
from aggregator.market import Market
from aggregator.producers.numbering import InvalidBatch
from marketdata.wire.market_data_pb2 import Tick, TickBatch
from tests.doubles.watched_market import NOW, make_batch, make_market


def trades(market: Market, symbol: str = "A") -> int:
    aggregate = market.book.aggregate(symbol)
    return 0 if aggregate is None else aggregate.trades


def test_an_ack_names_the_last_sequence_and_what_became_of_the_ticks() -> None:
    market = make_market()
    batch = make_batch(5, 3)
    batch.ticks[1].volume = 0
    ack = market.publish_batch(batch.SerializeToString(), NOW)
    assert (ack.last_sequence, ack.accepted, ack.duplicates) == (7, 2, 0)
    assert [(r.sequence, r.reason) for r in ack.rejections] == [(6, "volume_not_positive")]


def test_a_batch_seen_twice_changes_nothing() -> None:
    market = make_market()
    market.publish_batch(make_batch(1, 4).SerializeToString(), NOW)
    before = market.book.aggregate("A")
    ack = market.publish_batch(make_batch(1, 4).SerializeToString(), NOW)
    assert (ack.last_sequence, ack.accepted, ack.duplicates) == (4, 0, 4)
    assert market.book.aggregate("A") == before
    assert market.duplicates == 4


def test_a_batch_that_overlaps_is_applied_from_where_the_producer_came_to() -> None:
    market = make_market()
    market.publish_batch(make_batch(1, 4).SerializeToString(), NOW)
    ack = market.publish_batch(make_batch(3, 4).SerializeToString(), NOW)
    assert (ack.last_sequence, ack.accepted, ack.duplicates) == (6, 2, 2)
    assert trades(market) == 6


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 10)), max_size=30))
def test_however_batches_are_resent_each_sequence_counts_once(
    batches: list[tuple[int, int]],
) -> None:
    market = make_market()
    reached = 0
    for start, count in batches:
        first = min(start, reached + 1)  # a producer leaves no gap
        market.publish_batch(make_batch(first, count).SerializeToString(), NOW)
        reached = max(reached, first + count - 1)
    assert trades(market) == reached


def test_sequences_of_two_producers_are_independent() -> None:
    market = make_market()
    market.publish_batch(make_batch(1, 4, producer="p").SerializeToString(), NOW)
    market.publish_batch(make_batch(1, 4, producer="q").SerializeToString(), NOW)
    assert trades(market) == 8


def test_ticks_without_a_producer_are_never_duplicates() -> None:
    market = make_market()
    for _ in range(2):
        ack = market.publish_batch(make_batch(1, 4, producer="").SerializeToString(), NOW)
        assert ack.duplicates == 0
    assert trades(market) == 8


@pytest.mark.parametrize(
    "batch",
    [
        make_batch(0, 1),
        TickBatch(producer_id="x" * 65, first_sequence=1),
        TickBatch(producer_id="p", first_sequence=MAX_INT64, ticks=[Tick(), Tick()]),
    ],
)
def test_a_batch_that_cannot_be_placed_is_an_error_and_changes_nothing(batch: TickBatch) -> None:
    market = make_market()
    with pytest.raises(InvalidBatch):
        market.publish_batch(batch.SerializeToString(), NOW)
    assert market.accepted == 0


def with_refused(batch: TickBatch, *sequences: int) -> bytes:
    """Return a batch of a session in which ingest refused some ticks, the first as malformed."""
    for number, sequence in enumerate(sequences):
        tick = batch.ticks[sequence - batch.first_sequence]
        if number:
            batch.refusals.add(
                symbol=tick.symbol,
                exchange_timestamp=tick.exchange_timestamp,
                reason="price_not_positive",
                sequence=sequence,
            )
        tick.Clear()
    return batch.SerializeToString()


def test_an_empty_tick_is_neither_accepted_nor_rejected_and_has_a_sequence() -> None:
    market = make_market()
    ack = market.publish_batch(with_refused(make_batch(5, 6), 6, 8, 10), NOW)
    assert (ack.last_sequence, ack.accepted, ack.duplicates) == (10, 3, 0)
    assert not ack.rejections
    assert market.last_sequence("p") == 10
    state = market.book.state("A")
    assert (state.trades, state.refused, state.close) == (3, 2, 9)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 10)), max_size=30),
    st.sets(st.integers(1, 60)),
)
def test_however_batches_with_refused_ticks_are_resent_each_tick_counts_once(
    batches: list[tuple[int, int]], refused: set[int]
) -> None:
    market = make_market()
    reached, accepted, duplicates = 0, 0, 0
    for start, count in batches:
        first = min(start, reached + 1)
        here = sorted(each for each in refused if first <= each < first + count)
        batch = make_batch(first, count)
        for each in here:
            batch.refusals.add(
                symbol="A", exchange_timestamp=NOW, reason="price_not_positive", sequence=each
            )
            batch.ticks[each - first].Clear()
        ack = market.publish_batch(batch.SerializeToString(), NOW)
        new = range(max(first, reached + 1), first + count)
        assert ack.accepted == len(set(new) - refused)
        assert ack.duplicates == count - len(new) - len({*here} - {*new})
        accepted += ack.accepted
        duplicates += ack.duplicates
        reached = max(reached, first + count - 1)
    assert trades(market) == accepted == len(set(range(1, reached + 1)) - refused)
    assert market.duplicates == duplicates
    state = market.book.aggregate("A")
    if state is not None:
        assert state.refused == len(refused & set(range(1, reached + 1)))
