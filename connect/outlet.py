"""Take trades without waiting, and send them to ingest in a producer session."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import islice

from connect.errors import OutletFull
from connect.trades import Trade
from marketdata.producer import EncodedTicks, Producer, RejectedTick
from marketdata.producer.encoding import RowEncoder, record_head

# Trades that wait here while the producer is full: some minutes of the busiest exchange, 50 MB.
MAX_WAITING = 200_000
# The largest that a valid tick has; and so many of them are less than 900,000, the most of a batch.
MAX_TICK_BYTES = 220
_BATCH = 4_000


# A trade, or a serialized Tick of a source that has ticks.
Item = Trade | bytes


class Outlet:
    """Trades on their way to ingest.

    Args:
        producer: an open session.
        max_waiting: how many trades may wait here.
    """

    def __init__(self, producer: Producer, max_waiting: int = MAX_WAITING) -> None:
        self._producer = producer
        self._max_waiting = max_waiting
        self._waiting: deque[Item] = deque()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def is_full(self) -> bool:
        """Whether no trade may be added now."""
        return len(self._waiting) >= self._max_waiting

    def put_nowait(self, trade: Item) -> None:
        """Add a trade.

        Raises:
            OutletFull: there is no room.
        """
        if self.is_full:
            raise OutletFull(self._max_waiting)
        self._waiting.append(trade)
        self._drained.clear()
        self._filled.set()

    async def put(self, trades: Iterable[Item]) -> None:
        """Add trades; wait while there is no room."""
        for trade in trades:
            while self.is_full:
                await self.drained()
            self.put_nowait(trade)

    async def drained(self) -> None:
        """Wait until the producer has taken every trade."""
        await self._drained.wait()

    async def flush(self) -> None:
        """Wait until ingest has acknowledged every trade."""
        await self.drained()
        await self._producer.flush()

    async def run(self) -> None:
        """Send until cancelled.

        Raises:
            ProducerError: the session has ended for ever.
        """
        while True:
            await self._filled.wait()
            await self.send_rest()

    async def send_rest(self) -> None:
        """Send what waits. If cancelled, the rest waits on.

        Raises:
            ProducerError: the session has ended for ever.
        """
        while self._waiting:
            batch = list(islice(self._waiting, _BATCH))
            await self._producer.send_encoded(encode_trades(batch))
            for _ in batch:
                self._waiting.popleft()
        self._filled.clear()
        self._drained.set()


def encode_trades(items: Iterable[Item]) -> EncodedTicks:
    """Return trades as the records of a batch."""
    encode = RowEncoder("ns").encode
    records = []
    for item in items:
        if isinstance(item, bytes):
            records.append(record_head(len(item)) + item)
        else:
            symbol, price, volume, decimals, ts_ns, trade_id = item
            records.append(encode(symbol, price, (volume, decimals), ts_ns, trade_id=trade_id))
    return EncodedTicks(b"".join(records), len(records))


class Rejections:
    """Count the ticks that ingest rejects, and say the first one of each symbol and reason.

    Args:
        say: takes a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[tuple[str, str]] = set()
        self.counts: Counter[str] = Counter()

    def add(self, _sequence: int, reason: str, tick: RejectedTick) -> None:
        """Note one; it has the form of ``on_reject`` of a producer."""
        self.counts[reason] += 1
        key = (tick.symbol[:64], reason)
        # Bounded, should every symbol be another one.
        if key not in self._said and len(self._said) < 1_000:
            self._said.add(key)
            self._say(f"rejected: {key[0]}: {reason} (said once, counted at the end)")
