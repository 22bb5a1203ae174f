"""Apply the batches of producers to the book, once each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.book import Applied, Book
from aggregator.coverage.feed import Feed
from aggregator.producers.numbering import Numbering, count_duplicates, make_ack
from aggregator.producers.producers import Producers
from aggregator.views.view import accepted_trades
from aggregator.views.views import Views
from aggregator.wire.batch import Batch
from marketdata.timestamps import NS_PER_S
from marketdata.validation import DEFAULT_LIMITS, ValueLimits
from marketdata.wire.market_data_pb2 import BatchAck, Refusal


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator limits; with others, the same state goes on."""

    max_symbols: int = 100_000
    max_producers: int = 10_000
    max_trade_ids: int = 5_000_000
    max_future_skew_s: float = 60.0
    max_price: float = DEFAULT_LIMITS.max_price
    max_volume: int = DEFAULT_LIMITS.max_volume


class Market:
    """Apply the ticks of producers, and report which symbols changed.

    :attr:`rejected` counts ticks by reason.

    Args:
        book: the states of all symbols.
        producers: the sequences that were applied before.
        notify: called after each batch with the rows of the symbols that changed.
        max_future_skew_s: how far ahead of the clock an exchange time may be.
        views: kept up to date with the accepted trades.
    """

    def __init__(
        self,
        book: Book,
        producers: Producers,
        notify: Callable[[NDArray[np.int32]], None],
        max_future_skew_s: float,
        views: Views | None = None,
    ) -> None:
        self.book = book
        self.views = views or Views()
        self._producers = producers
        self.last_sequence = producers.last_sequence
        self.last_sequences = producers.all
        self._numbering = Numbering(producers, book.epoch)
        self._notify = notify
        self._max_future_skew_ns = int(max_future_skew_s * NS_PER_S)
        self.accepted = 0
        self.rejected: Counter[str] = Counter()

    def start(self, epoch: int, now_ns: int, *, begins: bool = True) -> None:
        """Take batches from now on.

        Args:
            epoch: names the state's run, which may be that of the process before.
            now_ns: when.
            begins: whether no batch came before.
        """
        self.book.start(epoch)
        self._numbering.start(now_ns, begins=begins)

    def limit(self, limits: Limits) -> None:
        """Let other limits hold from now on."""
        self.book.limit(limits.max_symbols, ValueLimits(limits.max_price, limits.max_volume))
        self.book.memory.limit(limits.max_trade_ids)
        self._producers.limit(limits.max_producers)
        self._max_future_skew_ns = int(limits.max_future_skew_s * NS_PER_S)

    @property
    def duplicates(self) -> int:
        """How many ticks came again, by their sequence or by the id of their trade."""
        return self._numbering.duplicates + self.book.engine.table.duplicates

    def publish_batch(self, data: bytes, now_ns: int, feed: Feed | None = None) -> BatchAck:
        """Apply one serialized ``TickBatch``, once, and return its ack.

        Args:
            data: the batch.
            now_ns: when it arrived.
            feed: the stream that sent it.

        Raises:
            DecodeError: it does not parse.
            InvalidBatch: the producer id is too long, or a sequence is outside 1..2^63-1.
        """
        batch = self.book.decoder.decode(data)
        first, seen = self._numbering.number(batch)
        refusals = self._numbering.new_refusals(batch, seen)
        applied = self._apply(batch, first, seen, now_ns, feed, refusals=refusals)
        duplicates = count_duplicates(batch, seen) + applied.duplicates
        return make_ack(first + batch.count - 1, applied.accepted, duplicates, applied.rejections)

    def dump_state(self) -> dict[str, Any]:
        """Return the states, the sequences of producers, and the counts."""
        return {
            "book": self.book.dump_state(),
            "numbering": self._numbering.dump_state(),
            "accepted": self.accepted,
            "rejected": sorted(self.rejected.items()),
            "views": self.views.dump_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another market was; this one has no symbols."""
        self.book.load_state(state["book"])
        self._numbering.load_state(state["numbering"])
        self.accepted = state["accepted"]
        self.rejected = Counter(dict(state["rejected"]))
        self.views.load_state(state["views"])

    def _apply(
        self,
        batch: Batch,
        first_sequence: int,
        seen: int,
        now_ns: int,
        feed: Feed | None,
        *,
        refusals: Sequence[Refusal],
    ) -> Applied:
        latest_ns = now_ns + self._max_future_skew_ns
        if feed is not None:
            # Before the ticks: their bars ask how much of their time had a feed.
            feed.before_batch(batch, latest_ns, now_ns)
        applied = self.book.apply_batch(
            batch, first_sequence, latest_ns, now_ns, skip=seen, refusals=refusals
        )
        self.accepted += applied.accepted
        for _, reason in applied.rejections:
            self.rejected[reason] += 1
        if len(self.views) and applied.accepted and applied.ticks is not None:
            symbols = self.book.engine.table.symbols.symbols
            self.views.add(accepted_trades(applied.ticks, symbols), now_ns)
        if len(applied.rows):
            self._notify(applied.rows)
        if feed is not None:
            feed.after_batch(batch, now_ns)
        return applied
