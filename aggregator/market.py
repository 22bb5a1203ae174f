"""The aggregator's core: one book, who produced what, and who wants to hear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from aggregator.bars.candle import MAX_INT64
from aggregator.book import Applied, Book
from aggregator.columns import Batch
from aggregator.producers import Producers
from aggregator.watchers import Watchers
from marketdata.errors import MarketDataError
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import BatchAck, Rejection, Tick

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

    def publish_batch(self, data: bytes, now_ns: int) -> BatchAck:
        """Apply one serialized ``TickBatch``, once, and return its ack.

        Raises:
            DecodeError: it does not parse.
            InvalidBatch: the producer id is too long, or a sequence is outside 1..2^63-1.
        """
        ticks = self.book.decoder.decode(data)
        if not ticks.producer_id:
            applied = self._apply_anonymous(ticks, now_ns)
            return _ack(self._next_sequence - 1, applied, 0)
        _check_batch(ticks)
        first = ticks.first_sequence
        seen = self._producers.advance(ticks.producer_id, first, ticks.count)
        self.duplicates += seen
        applied = self._apply(ticks, first, now_ns, seen)
        return _ack(first + ticks.count - 1, applied, seen)

    def publish_ticks(self, ticks: Sequence[Tick], now_ns: int) -> Applied:
        """Apply ticks that carry no identity."""
        return self._apply_anonymous(self.book.decoder.read(ticks), now_ns)

    def _apply_anonymous(self, ticks: Batch, now_ns: int) -> Applied:
        first = self._next_sequence
        self._next_sequence += ticks.count
        return self._apply(ticks, first, now_ns, 0)

    def _apply(self, ticks: Batch, first_sequence: int, now_ns: int, skip: int) -> Applied:
        latest_ns = now_ns + self._max_future_skew_ns
        applied = self.book.apply_batch(ticks, first_sequence, latest_ns, now_ns, skip=skip)
        self.accepted += applied.accepted
        for _, reason in applied.rejections:
            self.rejected[reason] += 1
        changed = self.book.changed(applied, self.watchers.symbols_watched())
        if changed:
            self.watchers.notify(changed)
        return applied


def _check_batch(batch: Batch) -> None:
    length = len(batch.producer_id)
    if length > MAX_PRODUCER_ID_LENGTH:
        raise InvalidBatch(f"producer_id has {length} characters, limit {MAX_PRODUCER_ID_LENGTH}")
    first, last = batch.first_sequence, batch.first_sequence + batch.count - 1
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
