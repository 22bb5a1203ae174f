"""Ingest over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from math import nan

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from aggregator.app import Aggregator
from aggregator.bars.bar import Coverage
from ingest import scheduler
from ingest.app import Ingest
from marketdata.errors import AddressInUse, StartError
from marketdata.framing import MAX_FRAME_SIZE, encode_frame
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.aggregators import RecordingAggregator, run_recording_aggregator
from tests.doubles.pipeline import (
    TIMEOUT_S,
    connect,
    frame,
    make_tick,
    open_stub,
    run_aggregator,
    run_ingest,
    send,
    wait_closed,
    wait_for_trades,
)

UNREACHABLE = "127.0.0.1:1"


@pytest_asyncio.fixture
async def aggregator() -> AsyncIterator[Aggregator]:
    async with run_aggregator() as aggregator:
        yield aggregator


@pytest_asyncio.fixture
async def ingest(aggregator: Aggregator) -> AsyncIterator[Ingest]:
    async with run_ingest(f"127.0.0.1:{aggregator.port}") as ingest:
        yield ingest


async def test_ticks_sent_over_tcp_become_an_aggregate(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    await send(ingest.listener.port, [make_tick(" AAPL ", 10, 5), make_tick("AAPL", 12, 6)])
    aggregate = await wait_for_trades(aggregator, "AAPL", 2)
    assert (aggregate.open, aggregate.high, aggregate.close) == (10, 12, 12)
    assert aggregate.volume == 11


async def test_symbols_are_exact_unless_the_operator_wants_upper_case(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    ticks = [make_tick("AMpB", 25.1), make_tick("AMPB", 3.2), make_tick("AAPL  251219C00150000")]
    await send(ingest.listener.port, ticks)
    for symbol, close in (("AMpB", 25.1), ("AMPB", 3.2), ("AAPL  251219C00150000", 10.0)):
        assert (await wait_for_trades(aggregator, symbol, 1)).close == close
    async with run_ingest(f"127.0.0.1:{aggregator.port}", symbol_case="upper") as upper:
        await send(upper.listener.port, [make_tick("AMpB", 4.0)])
    assert (await wait_for_trades(aggregator, "AMPB", 2)).close == 4.0


async def test_a_tick_over_a_limit_is_refused_and_the_next_one_counts(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    now_ns = time.time_ns()
    ticks = [
        make_tick(volume=2**63 - 1),
        make_tick(price=9223372036.854775807),
        make_tick(price=1.7976931348623157e308),
        make_tick(ts_ns=20250103),
        make_tick(volume=5, ts_ns=now_ns),
    ]
    await send(ingest.listener.port, ticks)
    assert (await wait_for_trades(aggregator, "AAPL", 1)).volume == 5
    assert dict(ingest.rejected.totals) == {
        "volume_too_large": 1,
        "price_sentinel": 1,
        "price_too_large": 1,
        "timestamp_implausible": 1,
    }


async def test_a_change_of_the_unit_is_logged_once(aggregator: Aggregator, ingest: Ingest) -> None:
    now_ns = time.time_ns()
    units = (10**6, 10**6, 10**9, 10**6, 10**9)
    with capture_logs() as lines:
        await send(ingest.listener.port, [make_tick(ts_ns=now_ns // unit) for unit in units])
        await wait_for_trades(aggregator, "AAPL", len(units))
    assert [line["log_level"] for line in lines if line["event"] == "timestamp_unit_changed"] == [
        "warning"
    ]
    (left,) = (line for line in lines if line["event"] == "producer_disconnected")
    assert left["unit_changes"] == 3


async def test_a_thousand_producers_at_once(aggregator: Aggregator, ingest: Ingest) -> None:
    async def produce(number: int) -> None:
        async with connect(ingest.listener.port) as (reader, writer):
            everybody.discard(number)
            if not everybody:
                all_connected.set()
            await all_connected.wait()
            writer.write(b"".join(frame(make_tick(volume=number + 1)) for _ in range(10)))
            writer.write_eof()
            await reader.read()

    everybody = set(range(1000))
    all_connected = asyncio.Event()
    await asyncio.gather(*map(produce, range(1000)))
    aggregate = await wait_for_trades(aggregator, "AAPL", 10_000)
    assert aggregate.trades == 10_000
    assert aggregate.volume == 10 * sum(range(1, 1001))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"\x00\x00\x00\x00", "empty_frame"),
        ((MAX_FRAME_SIZE + 1).to_bytes(4, "big"), "frame_too_large"),
        (b"GET / HTTP/1.1\r\n\r\n", "frame_too_large"),
    ],
)
async def test_a_bad_frame_closes_the_connection_and_keeps_what_came_before(
    aggregator: Aggregator, ingest: Ingest, bad: bytes, reason: str
) -> None:
    async with connect(ingest.listener.port) as (reader, writer):
        writer.write(frame(make_tick()) + bad)
        await wait_closed(reader)
    assert (await wait_for_trades(aggregator, "AAPL", 1)).trades == 1
    assert ingest.closed.totals == {reason: 1}


async def test_a_bad_tick_is_counted_and_the_connection_lives_on(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    bad = [make_tick(price=nan), make_tick(volume=0), make_tick(price=nan)]
    async with connect(ingest.listener.port) as (_, writer):
        writer.write(b"".join(map(frame, bad)) + encode_frame(b"\xff") + frame(make_tick()))
        assert (await wait_for_trades(aggregator, "AAPL", 1)).trades == 1
    assert ingest.rejected.totals == {
        "price_not_finite": 2,
        "volume_not_positive": 1,
        "malformed": 1,
    }


async def test_a_frame_of_the_greatest_size_is_read(aggregator: Aggregator, ingest: Ingest) -> None:
    payload = make_tick("A").SerializeToString()
    padding = MAX_FRAME_SIZE - len(payload) - 4
    padded = payload + b"\x7a" + bytes((padding & 127 | 128, padding >> 7 & 127 | 128))
    padded += bytes((padding >> 14,)) + b"x" * padding
    assert len(padded) == MAX_FRAME_SIZE
    assert Tick.FromString(padded).symbol == "A"
    async with connect(ingest.listener.port) as (_, writer):
        writer.write(encode_frame(padded))
        assert (await wait_for_trades(aggregator, "A", 1)).trades == 1


async def test_ticks_the_aggregator_refuses_are_counted_by_its_reason() -> None:
    async with (
        run_aggregator(max_symbols=1) as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
    ):
        await send(ingest.listener.port, [make_tick("A"), make_tick("B"), make_tick("A")])
        await wait_for_trades(aggregator, "A", 2)
        await ingest.stop()
        assert ingest.rejected.totals == {"too_many_symbols": 1}


async def test_a_half_sent_frame_times_out_however_slowly_it_drips() -> None:
    async with (
        run_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}", frame_timeout_s=0.3) as ingest,
        connect(ingest.listener.port) as (reader, writer),
    ):
        writer.write(frame(make_tick()) + (1000).to_bytes(4, "big"))
        closed = asyncio.create_task(wait_closed(reader))
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(50):
            writer.write(b"x")
            await asyncio.wait([closed], timeout=0.1)
            if closed.done():
                break
        assert closed.done()
        await closed
        assert loop.time() - start >= 0.3
        assert ingest.closed.totals == {"frame_timeout": 1}
        assert (await wait_for_trades(aggregator, "AAPL", 1)).trades == 1


async def test_an_idle_producer_without_a_begun_frame_stays_connected() -> None:
    async with (
        run_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}", frame_timeout_s=0.05) as ingest,
        connect(ingest.listener.port) as (reader, writer),
    ):
        writer.write(frame(make_tick()))
        closed = asyncio.create_task(reader.read())
        done, _ = await asyncio.wait([closed], timeout=0.3)
        assert not done
        writer.write(frame(make_tick()))
        await wait_for_trades(aggregator, "AAPL", 2)
        closed.cancel()


async def test_a_producer_over_the_limit_is_closed_at_once_and_counted(
    aggregator: Aggregator,
) -> None:
    async with run_ingest(f"127.0.0.1:{aggregator.port}", max_connections=1) as ingest:
        async with connect(ingest.listener.port) as (_, first):
            first.write(frame(make_tick()))
            await wait_for_trades(aggregator, "AAPL", 1)
            async with connect(ingest.listener.port) as (reader, _):
                await wait_closed(reader)
            assert ingest.listener.connections == 1
        assert ingest.closed.totals["too_many_connections"] == 1


async def test_a_port_in_use_is_a_clear_error(ingest: Ingest) -> None:
    with pytest.raises(AddressInUse, match=str(ingest.listener.port)):
        async with run_ingest(UNREACHABLE, port=ingest.listener.port):
            pass


async def test_an_address_of_another_machine_is_a_clear_error() -> None:
    with pytest.raises(StartError, match=r"192\.0\.2\.1"):
        async with run_ingest(UNREACHABLE, host="192.0.2.1"):
            pass


async def test_a_lone_tick_leaves_at_once() -> None:
    async with (
        run_recording_aggregator() as recorder,
        run_ingest(f"127.0.0.1:{recorder.port}") as ingest,
    ):
        for _ in range(3):
            await send(ingest.listener.port, [make_tick()])
            async with asyncio.timeout(TIMEOUT_S):
                assert len((await recorder.batches.get()).ticks) == 1


@contextlib.asynccontextmanager
async def stay_connected(ingest: Ingest, recorder: RecordingAggregator) -> AsyncIterator[None]:
    """Let one more producer be there: when the last one leaves, nothing waits any more."""
    async with connect(ingest.listener.port) as (_, writer), asyncio.timeout(TIMEOUT_S):
        writer.write(frame(make_tick())[:3])
        while not (await recorder.reports.get()).producers:
            pass
        yield


async def test_ticks_that_come_while_two_batches_are_unacked_leave_together_with_the_ack() -> None:
    async with (
        run_recording_aggregator() as recorder,
        run_ingest(f"127.0.0.1:{recorder.port}", latency_target=0) as ingest,
        stay_connected(ingest, recorder),
    ):
        await until(lambda: not ingest.ring.unanswered)
        recorder.withhold_acks()
        for count in range(1, 6):
            await send(ingest.listener.port, [make_tick()])
            await until(partial(has_accepted, ingest, count))
        assert ingest.ring.unanswered == 2
        recorder.release_acks()
        sizes: list[int] = []
        async with asyncio.timeout(TIMEOUT_S):
            while sum(sizes) < 5:
                sizes.append(len((await recorder.batches.get()).ticks))
        assert sizes == [1, 1, 3]


def has_accepted(ingest: Ingest, count: int) -> bool:
    return ingest.feed.accepted == count


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that tells nobody when it happens."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


class FetchedProducer:
    """A producer that sent so often while a batch was unacked that ingest does not listen to it."""

    def __init__(
        self, recorder: RecordingAggregator, ingest: Ingest, writer: asyncio.StreamWriter
    ) -> None:
        self.recorder = recorder
        self.ingest = ingest
        self.writer = writer
        self.sent = 0

    @property
    def read(self) -> int:
        """How many of its ticks were read."""
        return self.ingest.feed.accepted

    async def send(self, count: int = 1) -> None:
        """Send one by one, and give ingest every chance to read each by itself."""
        for _ in range(count):
            self.writer.write(frame(make_tick()))
            self.sent += 1
            for _ in range(10):
                await asyncio.sleep(0)

    async def receive(self) -> set[int]:
        """Wait until the aggregator has all; return their sequences."""
        numbers: set[int] = set()
        while len(numbers) < self.sent:
            batch = await self.recorder.batches.get()
            numbers.update(range(batch.first_sequence, batch.first_sequence + len(batch.ticks)))
        return numbers


@contextlib.asynccontextmanager
async def fetched_producer(max_defer_s: float) -> AsyncIterator[FetchedProducer]:
    """Connect a producer, and let it send until it is not listened to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "MAX_DEFER_S", max_defer_s)
        async with _fetched_producer() as producer:
            yield producer


@contextlib.asynccontextmanager
async def _fetched_producer() -> AsyncIterator[FetchedProducer]:
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_recording_aggregator() as recorder,
        run_ingest(f"127.0.0.1:{recorder.port}", latency_target=0) as ingest,
        stay_connected(ingest, recorder),
        connect(ingest.listener.port) as (_, writer),
    ):
        recorder.withhold_acks()
        producer = FetchedProducer(recorder, ingest, writer)
        while producer.read == producer.sent:
            await producer.send()
        yield producer


async def test_a_producer_that_sends_often_is_read_when_a_batch_may_leave() -> None:
    async with fetched_producer(max_defer_s=60) as producer:
        # How many came before depends on when a batch left that is not acked, and on the machine.
        read = producer.read
        await producer.send(10)
        assert producer.read == read
        producer.recorder.release_acks()
        assert len(await producer.receive()) == producer.sent
        # It is listened to again.
        await until(lambda: not producer.ingest.ring.unanswered)
        await producer.send()
        assert len((await producer.recorder.batches.get()).ticks) == 1


async def test_ticks_that_are_read_with_an_ack_leave_in_one_batch() -> None:
    async with fetched_producer(max_defer_s=60) as producer:
        await producer.send(10)
        producer.recorder.release_acks()
        sizes: list[int] = []
        while sum(sizes) < producer.sent:
            sizes.append(len((await producer.recorder.batches.get()).ticks))
        assert sizes[-1] >= 10


async def test_a_batch_that_is_long_on_its_way_keeps_no_producer_from_being_read() -> None:
    async with fetched_producer(max_defer_s=0.05) as producer:
        for _ in range(3):
            await producer.send(10)
            await until(lambda: producer.read == producer.sent)
        producer.recorder.release_acks()
        assert len(await producer.receive()) == producer.sent


async def test_a_producer_that_leaves_before_it_is_read_is_read_to_its_end() -> None:
    async with fetched_producer(max_defer_s=60) as producer:
        await producer.send(10)
        producer.writer.close()
        await producer.writer.wait_closed()
        producer.recorder.release_acks()
        assert len(await producer.receive()) == producer.sent
        await until(lambda: producer.ingest.listener.connections == 1)


async def test_a_lost_stream_leaves_no_producer_unread() -> None:
    async with fetched_producer(max_defer_s=60) as producer:
        await producer.send(10)
        producer.recorder.break_streams()
        await until(lambda: producer.read == producer.sent)
        producer.recorder.release_acks()
        assert len(await producer.receive()) == producer.sent


async def test_ingest_that_stops_reads_deferred_producers() -> None:
    async with fetched_producer(max_defer_s=60) as producer:
        await producer.send(10)
        producer.recorder.release_acks()
    assert producer.read == producer.sent
    assert len(await producer.receive()) == producer.sent


async def test_full_batches_leave_at_once_and_the_rest_when_one_is_acked() -> None:
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_recording_aggregator() as recorder,
        run_ingest(f"127.0.0.1:{recorder.port}", batch_ticks=1_000) as ingest,
        stay_connected(ingest, recorder),
    ):
        recorder.postpone_acks()
        await send(ingest.listener.port, (make_tick() for _ in range(4_500)))
        full = [await recorder.batches.get() for _ in range(4)]
        await until(lambda: ingest.feed.accepted == 4_500)
        assert recorder.batches.empty()
        assert ingest.ring.unanswered == 4
        recorder.release_acks()
        rest = await recorder.batches.get()
        assert [len(batch.ticks) for batch in (*full, rest)] == [1_000] * 4 + [500]
        assert rest.first_sequence == full[0].first_sequence + 4_000


async def test_small_batches_do_not_use_up_the_ring_while_acks_are_slow() -> None:
    async with (
        run_recording_aggregator() as recorder,
        run_ingest(f"127.0.0.1:{recorder.port}", latency_target=0, ring_batches=4) as ingest,
    ):
        recorder.withhold_acks()
        for _ in range(20):
            await send(ingest.listener.port, [make_tick()])
        async with asyncio.timeout(TIMEOUT_S):
            await until(partial(has_accepted, ingest, 20))
        assert ingest.ring.free_batches >= 2
        recorder.release_acks()
        received = 0
        async with asyncio.timeout(TIMEOUT_S):
            while received < 20:
                received += len((await recorder.batches.get()).ticks)
        assert received == 20


async def test_reading_stops_while_the_ring_is_full_and_nothing_is_lost() -> None:
    async with (
        run_recording_aggregator() as recorder,
        run_ingest(f"127.0.0.1:{recorder.port}", batch_ticks=100, ring_batches=5) as ingest,
        connect(ingest.listener.port) as (_, writer),
    ):
        recorder.withhold_acks()
        total = 400_000
        blocks = [frame(make_tick()) * 1_000 for _ in range(total // 1_000)]

        async def produce() -> None:
            for block in blocks:
                writer.write(block)
                await writer.drain()

        producing = asyncio.create_task(produce())
        # Until the sockets' buffers are full as well; drain() then waits for us.
        before = -1
        while before != ingest.feed.accepted or not before:
            before = ingest.feed.accepted
            await asyncio.wait([producing], timeout=0.3)
        assert not producing.done()
        # 256 KiB were read at once, 9,000 ticks; the next read waits for the ring.
        assert ingest.ring.unacked_ticks <= 500 + 2 * 9_362
        recorder.release_acks()
        await asyncio.wait_for(producing, TIMEOUT_S)
        received = 0
        while received < total:
            received += len((await recorder.batches.get()).ticks)
        assert received == total


async def test_rejects_are_logged_at_most_once_per_reason_and_second(
    aggregator: Aggregator,
) -> None:
    with capture_logs() as logs:
        async with run_ingest(f"127.0.0.1:{aggregator.port}") as ingest:
            bad = [make_tick(price=nan), make_tick(volume=0)] * 5_000
            await send(ingest.listener.port, bad)
            await send(ingest.listener.port, bad)
        lines = [line for line in logs if line["event"] == "ticks_rejected"]
    assert sorted((line["reason"], line["count"], line["total"]) for line in lines) == [
        ("price_not_finite", 10_000, 10_000),
        ("volume_not_positive", 10_000, 10_000),
    ]


async def test_reports_say_when_the_first_producer_comes_and_the_last_one_leaves() -> None:
    async with (
        run_recording_aggregator() as recorder,
        run_ingest(f"127.0.0.1:{recorder.port}") as ingest,
        asyncio.timeout(TIMEOUT_S),
    ):
        first = await recorder.reports.get()
        assert (first.producers, first.accepted) == (0, 0)
        async with connect(ingest.listener.port) as (_, writer):
            writer.write(frame(make_tick())[:3])
            came = await recorder.reports.get()
            assert came.producers == 1
            # A second one, or a health check, is no news.
            await send(ingest.listener.port, [])
            await send(ingest.listener.port, [make_tick(), make_tick(volume=0)])
        while (left := await recorder.reports.get()).producers:
            pass
    assert (left.producers, left.accepted) == (0, 1)
    assert dict(left.rejected) == {"volume_not_positive": 1}
    assert first.since < came.since < left.since


async def test_the_numbers_of_a_feed_are_reported_once_a_second_while_they_change() -> None:
    async with (
        run_recording_aggregator() as recorder,
        run_ingest(f"127.0.0.1:{recorder.port}") as ingest,
        connect(ingest.listener.port) as (_, writer),
        asyncio.timeout(TIMEOUT_S),
    ):
        start = time.monotonic()
        said: list[wire.FeedReport] = []
        for _ in range(5):
            writer.write(frame(make_tick()))
            await recorder.batches.get()
        while not said or said[-1].accepted < 5:
            said.append(await recorder.reports.get())
        # The greeting, the first producer, and the numbers once in each second after that.
        assert len(said) <= 2 + time.monotonic() - start
        assert recorder.reports.empty()


async def test_a_new_stream_begins_with_a_report_and_then_all_that_was_not_acked() -> None:
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_recording_aggregator() as recorder,
        run_ingest(f"127.0.0.1:{recorder.port}") as ingest,
    ):
        greeting = await recorder.reports.get()
        recorder.withhold_acks()
        async with connect(ingest.listener.port) as (_, writer):
            writer.write(frame(make_tick()))
            (tick,) = (await recorder.batches.get()).ticks
            came = await recorder.reports.get()
            assert (greeting.producers, came.producers) == (0, 1)
            recorder.break_streams()
            again = await recorder.reports.get()
            assert (again.producers, again.since) == (1, came.since)
            assert list((await recorder.batches.get()).ticks) == [tick]
            recorder.release_acks()


async def test_the_aggregator_knows_what_each_ingest_said(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    async with open_stub(aggregator.port) as stub, connect(ingest.listener.port) as (_, writer):
        writer.write(frame(make_tick()) + frame(make_tick(volume=0)) + frame(make_tick()))
        await wait_for_trades(aggregator, "AAPL", 2)
        status = await stub.GetStatus(wire.StatusRequest())
        assert (status.epoch, status.symbols) == (aggregator.market.book.epoch, 1)
        assert (status.accepted, status.duplicates, status.late) == (2, 0, 0)
        assert (dict(status.rejected), status.out_of_session) == ({}, 0)
        (feed,) = status.feeds
        assert feed.connected
        assert feed.producer_id.startswith("ingest-")
        assert feed.report.producers == 1
        assert feed.reported_at >= feed.report.since > 0
        assert status.store.state == "off"
        since = feed.report.since
        assert aggregator.feeds.coverage(since, since + 1) is Coverage.FULL
        assert aggregator.feeds.coverage(since - 2, since - 1) is not Coverage.FULL


async def test_an_ingest_that_stopped_is_no_feed() -> None:
    async with (
        run_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
    ):
        await send(ingest.listener.port, [make_tick()])
        await wait_for_trades(aggregator, "AAPL", 1)
    (status,) = aggregator.feeds.statuses()
    assert not status.connected
    now = time.time_ns()
    assert aggregator.feeds.coverage(now, now + NS_PER_S) is Coverage.NO_FEED
