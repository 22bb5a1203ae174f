"""The aggregator's core: one book, who produced what, and who wants to hear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from aggregator.bars.candle import MAX_INT64
from aggregator.book import Applied, Book
from aggregator.producers import Producers
from aggregator.watchers import Watchers
from marketdata.errors import MarketDataError
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import BatchAck, Rejection, Tick, TickBatch

MAX_PRODUCER_ID_LENGTH = 64


class InvalidBatch(MarketDataError):
    """A batch cannot be placed: its producer or its sequence is not usable."""


class Market:
    """Apply what producers send and tell the watchers.

    :attr:`rejected` counts ticks by reason; :attr:`duplicates` those that came again.
    """

    def __init__(
        self, book: Book, producers: Producers, watchers: Watchers, max_future_skew_s: float
    ) -> None:
        self.book = book
        self.watchers = watchers
        self._producers = producers
        self._max_future_skew_ns = int(max_future_skew_s * NS_PER_S)
        # Ticks without an identity are ordered by arrival. Sequences begin at the clock, as those
        # of ingest do, so that ties between the two kinds fall to arrival too.
        self._next_sequence = book.epoch
        self.accepted = 0
        self.duplicates = 0
        self.rejected: Counter[str] = Counter()

    def publish_batch(self, batch: TickBatch, now_ns: int) -> BatchAck:
        """Apply one batch, once, and return its ack.

        Raises:
            InvalidBatch: the producer id is too long, or a sequence is outside 1..2^63-1.
        """
        ticks: Sequence[Tick] = batch.ticks
        if not batch.producer_id:
            applied = self.publish_ticks(ticks, now_ns)
            return _ack(self._next_sequence - 1, applied, 0)
        _check_batch(batch)
        first = batch.first_sequence
        seen = self._producers.advance(batch.producer_id, first, len(ticks))
        if seen:
            self.duplicates += seen
            ticks = ticks[seen:]
        applied = self._apply(ticks, first + seen, now_ns)
        return _ack(first + len(batch.ticks) - 1, applied, seen)

    def publish_ticks(self, ticks: Sequence[Tick], now_ns: int) -> Applied:
        """Apply ticks that carry no identity."""
        first = self._next_sequence
        self._next_sequence += len(ticks)
        return self._apply(ticks, first, now_ns)

    def _apply(self, ticks: Sequence[Tick], first_sequence: int, now_ns: int) -> Applied:
        latest_ns = now_ns + self._max_future_skew_ns
        applied = self.book.apply(ticks, first_sequence, latest_ns, now_ns)
        self.accepted += applied.accepted
        for _, reason in applied.rejections:
            self.rejected[reason] += 1
        if applied.changed:
            self.watchers.notify(applied.changed)
        return applied


def _check_batch(batch: TickBatch) -> None:
    length = len(batch.producer_id)
    if length > MAX_PRODUCER_ID_LENGTH:
        raise InvalidBatch(f"producer_id has {length} characters, limit {MAX_PRODUCER_ID_LENGTH}")
    first, last = batch.first_sequence, batch.first_sequence + len(batch.ticks) - 1
    if first < 1 or last > MAX_INT64:
        raise InvalidBatch(f"sequences {first}..{last} are not within 1..{MAX_INT64}")


def _ack(last_sequence: int, applied: Applied, duplicates: int) -> BatchAck:
    return BatchAck(
        last_sequence=last_sequence,
        accepted=applied.accepted,
        duplicates=duplicates,
        rejections=[
            Rejection(sequence=sequence, reason=reason) for sequence, reason in applied.rejections
        ],
    )
