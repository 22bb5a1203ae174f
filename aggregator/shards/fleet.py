"""All workers as one market: batches in, acks out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from aggregator.bars.plan import BarPlan
from aggregator.calls import ShuttingDown
from aggregator.producers import Producers
from aggregator.settings import AggregatorSettings
from aggregator.shards.crew import Crew, Member
from aggregator.shards.frames import make_frame
from aggregator.shards.merger import Merger
from aggregator.shards.owners import owner_of
from aggregator.shards.splitter import Split, Splitter
from marketdata.wire.market_data_pb2 import BatchAck, Tick
from marketdata.wire.shards_pb2 import Completed, End, Feed, FromWorker, Totals, ToWorker


class Fleet:
    """Send each worker its share, and answer for all of them.

    Args:
        settings: of the whole.
        epoch: the life.
        on_failure: called once, when a worker has ended by itself.
        tell_store: called with whether the stores of all workers work, when one of them tells.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        epoch: int,
        on_failure: Callable[[], None],
        tell_store: Callable[[bool], None],
    ) -> None:
        self.epoch = epoch
        self.plan: BarPlan = settings.bar_plan()
        self.splitter = Splitter(
            settings.workers,
            max_symbols=settings.max_symbols,
            producers=Producers(settings.max_producers),
            epoch=epoch,
            max_future_skew_s=settings.max_future_skew_s,
        )
        self.merger = Merger(settings.workers, len(self.plan.by_clock), self.plan.revise_ns)
        self._on_failure = on_failure
        self.crew = Crew(settings, epoch, self._receive, self._fail)
        self._feeds = 0
        self._pending: set[asyncio.Future[BatchAck]] = set()
        self._tell_store = tell_store
        # How the store is for each worker, as far as they said.
        self._stores: dict[int, bool] = {}
        self.totals: list[Totals] = []

    @property
    def members(self) -> list[Member]:
        """All workers, by number."""
        return self.crew.members

    def owner(self, symbol: str) -> Member:
        """Return the worker that has a symbol."""
        return self.members[owner_of(symbol, len(self.members))]

    def open_feed(self, now_ns: int) -> int:
        """Let all workers know of a stream of ticks; return its number."""
        self._feeds += 1
        self._tell_all(ToWorker(feed=Feed(number=self._feeds, now_ns=now_ns, open=True)))
        return self._feeds

    def close_feed(self, number: int, now_ns: int) -> None:
        """Let all workers know that a stream has ended."""
        self._tell_all(ToWorker(feed=Feed(number=number, now_ns=now_ns)))

    def publish_batch(self, data: bytes, now_ns: int, feed: int) -> asyncio.Future[BatchAck]:
        """Apply one serialized ``TickBatch``, once; what is returned has its ack when that is done.

        Raises:
            DecodeError: it does not parse.
            InvalidBatch: the producer id is too long, or a sequence is outside 1..2^63-1.
        """
        return self._send(self.splitter.split(data, now_ns, feed))

    def publish_ticks(
        self, ticks: Sequence[Tick], now_ns: int, feed: int
    ) -> asyncio.Future[BatchAck]:
        """Apply ticks that carry no identity."""
        return self._send(self.splitter.split_ticks(ticks, now_ns, feed))

    async def drain(self) -> None:
        """Wait while too much is on its way to some worker."""
        for member in self.members:
            await member.lane.drain()

    def _send(self, split: Split) -> asyncio.Future[BatchAck]:
        answer: asyncio.Future[BatchAck] = asyncio.get_running_loop().create_future()
        if self.crew.failed:
            answer.set_exception(ShuttingDown())
            answer.exception()
            return answer
        self._pending.add(answer)
        answer.add_done_callback(self._pending.discard)

        def tell(ack: BatchAck) -> None:
            # The caller may have gone.
            if not answer.done():
                answer.set_result(ack)

        self.merger.expect(split, tell)
        for member, frame in zip(self.members, split.frames, strict=True):
            member.lane.send(frame)
        return answer

    def _receive(self, worker: int, message: FromWorker) -> None:
        ends: list[End] = []
        if message.HasField("applied"):
            ends = self.merger.applied(worker, message.applied, message.progress)
        elif message.HasField("progress"):
            ends = self.merger.progress(worker, message.progress)
        if ends:
            self._tell_all(ToWorker(completed=Completed(ends=ends)))
        if message.HasField("store_works"):
            self._stores[worker] = message.store_works
            self._tell_store(all(self._stores.values()))
        if message.HasField("totals"):
            self.totals.append(message.totals)

    def total(self) -> Counter[str]:
        """Return what the workers counted, once they have stopped."""
        counts: Counter[str] = Counter(late=0, bars_late=0, out_of_session=0)
        for totals in self.totals:
            for name in counts:
                counts[name] += getattr(totals, name)
        return counts

    def _tell_all(self, message: ToWorker) -> None:
        frame = make_frame(message.SerializeToString())
        for member in self.members:
            member.lane.send(frame)

    def _fail(self) -> None:
        for answer in list(self._pending):
            if not answer.done():
                answer.set_exception(ShuttingDown())
                # It counts as seen, for the caller may have gone.
                answer.exception()
        self._on_failure()
