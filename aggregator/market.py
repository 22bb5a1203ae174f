"""The aggregator's core: one book, who produced what, and who wants to hear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from aggregator.book import Applied, Book
from aggregator.coverage.feeds import Feed
from aggregator.producers.numbering import Numbering, heard_times, make_ack
from aggregator.producers.producers import Producers
from aggregator.watch.watchers import Watchers
from aggregator.wire.batch import Batch
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import BatchAck, Tick


class Market:
    """Apply what producers send and tell the watchers.

    :attr:`rejected` counts ticks by reason.
    """

    def __init__(
        self, book: Book, producers: Producers, watchers: Watchers, max_future_skew_s: float
    ) -> None:
        self.book = book
        self.watchers = watchers
        self._numbering = Numbering(producers, book.epoch)
        self._max_future_skew_ns = int(max_future_skew_s * NS_PER_S)
        self.accepted = 0
        self.rejected: Counter[str] = Counter()

    @property
    def duplicates(self) -> int:
        """How many ticks came again."""
        return self._numbering.duplicates

    def publish_batch(self, data: bytes, now_ns: int, feed: Feed | None = None) -> BatchAck:
        """Apply one serialized ``TickBatch``, once, and return its ack.

        ``feed`` is the stream it came over.

        Raises:
            DecodeError: it does not parse.
            InvalidBatch: the producer id is too long, or a sequence is outside 1..2^63-1.
        """
        batch = self.book.decoder.decode(data)
        first, seen = self._numbering.number(batch)
        applied = self._hear_and_apply(batch, first, now_ns, feed, seen)
        return make_ack(first + batch.count - 1, applied.accepted, seen, applied.rejections)

    def publish_ticks(
        self, ticks: Sequence[Tick], now_ns: int, feed: Feed | None = None
    ) -> Applied:
        """Apply ticks that carry no identity; ``feed`` is the stream they came over."""
        batch = self.book.decoder.read(ticks)
        first, _ = self._numbering.number(batch)
        return self._hear_and_apply(batch, first, now_ns, feed, 0)

    def _hear_and_apply(
        self, batch: Batch, first_sequence: int, now_ns: int, feed: Feed | None, seen: int
    ) -> Applied:
        if feed is None:
            return self.apply(batch, first_sequence, now_ns, skip=seen)
        heard = heard_times(batch, now_ns + self._max_future_skew_ns)
        return self.apply(batch, first_sequence, now_ns, skip=seen, feed=feed, heard=heard)

    def apply(
        self,
        batch: Batch,
        first_sequence: int,
        now_ns: int,
        *,
        skip: int = 0,
        feed: Feed | None = None,
        heard: tuple[int, int] | None = None,
    ) -> Applied:
        """Apply ticks that are numbered.

        Args:
            batch: the ticks.
            first_sequence: what their offsets are added to.
            now_ns: when they arrived.
            skip: how many of the first ones to leave out.
            feed: the stream they came over.
            heard: what it is to hear of their times, as :func:`heard_times` says.
        """
        report = batch.feed if feed is not None else None
        # Who came, came before their ticks; who left, left after them.
        if feed is not None and report is not None and report.producers:
            feed.report(batch.producer_id, report, now_ns)
        if feed is not None and heard is not None:
            # Before the bars of these ticks ask how much of their time had a feed.
            feed.heard(*heard, now_ns)
        latest_ns = now_ns + self._max_future_skew_ns
        applied = self.book.apply_batch(batch, first_sequence, latest_ns, now_ns, skip=skip)
        self.accepted += applied.accepted
        for _, reason in applied.rejections:
            self.rejected[reason] += 1
        if len(applied.rows):
            self.watchers.notify(applied.rows)
        if feed is not None and report is not None and not report.producers:
            feed.report(batch.producer_id, report, now_ns)
        return applied
