"""A market with its watchers, and batches for it."""

from __future__ import annotations

from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan
from aggregator.book import Book
from aggregator.market import Market
from aggregator.producers.producers import Producers
from aggregator.sessions.sessions import UtcDay
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.watchers import Watchers
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick, TickBatch

NOW = 1_700_000_000 * NS_PER_S


class WatchedMarket(Market):
    """A market with its watchers."""

    def __init__(self, book: Book, producers: Producers) -> None:
        self.watchers = Watchers(3, book, BarWatchers(book.engine.series, 3, 10))
        super().__init__(book, producers, self.watchers.notify, max_future_skew_s=60)


def make_market(max_producers: int = 10, max_symbols: int = 100) -> WatchedMarket:
    """Return an empty market."""
    book = Book(BarEngine(BarPlan(), lambda _: UtcDay()), max_symbols=max_symbols, epoch=NOW)
    return WatchedMarket(book, Producers(max_producers))


def make_batch(first: int, count: int, producer: str = "p", symbol: str = "A") -> TickBatch:
    """Return ticks with rising prices."""
    ticks = [
        Tick(symbol=symbol, price=first + i, volume=1, exchange_timestamp=NOW) for i in range(count)
    ]
    return TickBatch(producer_id=producer, first_sequence=first, ticks=ticks)
