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
