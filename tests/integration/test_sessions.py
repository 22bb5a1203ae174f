"""Producer sessions, from the socket to the aggregator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from aggregator.app import Aggregator
from ingest.app import Ingest
from ingest.session import connection
from ingest.session.batches import MAX_BATCH_TICKS
from marketdata.framing import encode_frame
from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.aggregators import run_recording_aggregator
from tests.doubles.hostile_ticks import make_payload
from tests.doubles.link import open_link
from tests.doubles.pipeline import (
    TIMEOUT_S,
    connect,
    frame,
    make_tick,
    run_aggregator,
    run_ingest,
    wait_for_trades,
)
from tests.doubles.session_client import (
    MAGIC,
    SessionClient,
    batch,
    connect_session,
    hello,
    open_session,
)


@pytest_asyncio.fixture
async def aggregator() -> AsyncIterator[Aggregator]:
    async with run_aggregator() as aggregator:
        yield aggregator


@pytest_asyncio.fixture
async def ingest(aggregator: Aggregator) -> AsyncIterator[Ingest]:
    async with run_ingest(f"127.0.0.1:{aggregator.port}") as ingest:
        yield ingest


def numbered(first: int, count: int, symbol: str = "AAPL") -> list[Tick]:
    """Return ticks whose volumes are their sequences."""
    return [make_tick(symbol, volume=first + index) for index in range(count)]


async def until(is_true: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(TIMEOUT_S):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def total(last: int) -> int:
    return last * (last + 1) // 2


async def test_a_session_gets_a_welcome_and_an_ack_of_what_the_aggregator_has(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    async with open_session(ingest.listener.port) as client:
        assert (await client.welcome()).last_sequence == 0
        client.send(1, [make_tick(volume=1), make_tick(price=-1), make_tick(volume=2)])
        ack = await client.ack()
        assert (ack.last_sequence, ack.accepted, ack.duplicates) == (3, 2, 0)
        assert [(r.sequence, r.reason) for r in ack.rejections] == [(2, "price_not_positive")]
        state = aggregator.market.book.state("AAPL")
        assert (state.volume, state.refused) == (3, 1)
        assert aggregator.market.last_sequence("feed-1") == 3
    assert ingest.rejected.totals == {"price_not_positive": 1}


async def test_rejections_of_ingest_and_aggregator_come_in_one_ack() -> None:
    async with (
        run_aggregator(max_symbols=1) as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
        open_session(ingest.listener.port) as client,
    ):
        await client.welcome()
        ticks = [make_tick("A"), make_tick("B"), make_tick("A", volume=0), make_tick("C"), Tick()]
        client.send(1, ticks)
        ack = await client.ack()
        assert (ack.last_sequence, ack.accepted) == (5, 1)
        assert [(r.sequence, r.reason) for r in ack.rejections] == [
            (2, "too_many_symbols"),
            (3, "volume_not_positive"),
            (4, "too_many_symbols"),
            (5, "empty_symbol"),
        ]


async def test_the_magic_and_the_messages_may_come_byte_by_byte(ingest: Ingest) -> None:
    async with connect(ingest.listener.port) as (reader, writer):
        client = SessionClient(reader, writer)
        data = MAGIC + hello("feed-1") + batch(1, [make_tick()])
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        await client.welcome()
        assert (await client.ack()).last_sequence == 1


async def test_sessions_and_v1_connections_work_beside_each_other(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    port, batches, size = ingest.listener.port, 20, 500

    async def produce_v1() -> None:
        async with connect(port) as (reader, writer):
            for first in range(1, batches * size + 1, size):
                writer.write(b"".join(map(frame, numbered(first, size, "V1"))))
                await writer.drain()
            writer.write_eof()
            await reader.read()

    async def produce(name: str) -> None:
        async with open_session(port, name) as client:
            await client.welcome()
            for first in range(1, batches * size + 1, size):
                client.send(first, numbered(first, size, name))
                await client.writer.drain()
            ack = await client.acked(batches * size)
            assert (ack.accepted, ack.duplicates) == (batches * size, 0)

    await asyncio.gather(produce_v1(), produce("ONE"), produce("TWO"))
    for symbol in ("V1", "ONE", "TWO"):
        state = await wait_for_trades(aggregator, symbol, batches * size)
        assert (state.trades, state.volume) == (batches * size, total(batches * size))
    assert not ingest.ring.unacked_ticks


async def test_a_producer_goes_on_where_it_was_and_what_comes_again_changes_nothing(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    async with open_session(ingest.listener.port) as client:
        await client.welcome()
        client.send(1, numbered(1, 100))
        await client.acked(100)
    async with open_session(ingest.listener.port) as client:
        assert (await client.welcome()).last_sequence == 100
        client.send(51, numbered(51, 100))
        ack = await client.acked(150)
        assert (ack.accepted, ack.duplicates) == (50, 50)
        client.send(51, numbered(51, 100))
        ack = await client.ack()
        assert (ack.last_sequence, ack.accepted, ack.duplicates) == (150, 0, 100)
    state = aggregator.market.book.state("AAPL")
    assert (state.trades, state.volume) == (150, total(150))
    await until(lambda: not len(ingest.producers))


async def test_a_session_waits_for_an_aggregator_that_starts_later(
    aggregator: Aggregator,
) -> None:
    async with open_link("127.0.0.1", aggregator.port) as link:
        link.refuse()
        async with run_ingest(link.address) as ingest, open_session(ingest.listener.port) as client:
            client.send(1, numbered(1, 10))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.reader.readexactly(1)
            link.refuse(False)
            await client.welcome()
            await client.acked(10)
    assert aggregator.market.book.state("AAPL").trades == 10


async def test_the_welcome_waits_until_the_batches_of_the_session_before_are_acked() -> None:
    async with (
        run_recording_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
    ):
        aggregator.postpone_acks()
        async with open_session(ingest.listener.port) as client:
            await client.welcome()
            client.send(1, numbered(1, 5))
            client.send(6, numbered(6, 5))
            for _ in range(2):
                await aggregator.batches.get()
        async with open_session(ingest.listener.port) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.reader.readexactly(1)
            aggregator.release_acks()
            assert (await client.welcome()).last_sequence == 10


async def test_the_newer_session_of_a_producer_replaces_the_older(ingest: Ingest) -> None:
    async with (
        open_session(ingest.listener.port) as older,
        open_session(ingest.listener.port, "other") as other,
    ):
        await older.welcome()
        await other.welcome()
        async with open_session(ingest.listener.port) as newer:
            assert (await older.error()).reason == "replaced"
            await newer.welcome()
            newer.send(1, numbered(1, 3))
            await newer.acked(3)
            other.send(1, numbered(1, 3))
            await other.acked(3)
    await until(lambda: ingest.closed.totals == {"replaced": 1})


async def test_a_cut_to_the_aggregator_loses_and_doubles_nothing(aggregator: Aggregator) -> None:
    ticks, size = 20_000, 50
    async with (
        open_link("127.0.0.1", aggregator.port) as link,
        run_ingest(link.address) as ingest,
        open_session(ingest.listener.port) as client,
    ):
        await client.welcome()

        async def produce() -> None:
            for first in range(1, ticks + 1, size):
                client.send(first, numbered(first, size))
                await client.writer.drain()

        async def cut() -> None:
            for number in (1, 2, 3):
                await wait_for_trades(aggregator, "AAPL", number * ticks // 5)
                link.drop()

        _, _, ack = await asyncio.gather(produce(), cut(), client.acked(ticks))
        assert ack.accepted + ack.duplicates == ticks
    state = aggregator.market.book.state("AAPL")
    assert (state.trades, state.volume) == (ticks, total(ticks))


ERRORS = [
    (hello("feed 1"), "invalid_producer_id"),
    (batch(1, [make_tick()]), "hello_expected"),
    (encode_frame(b"\xff"), "malformed_message"),
    (b"\0\0\0\0", "empty_frame"),
    (b"GET / HTTP/1.1\r\n\r\n", "frame_too_large"),
    (hello("feed-1") * 2, "batch_expected"),
    (hello("feed-1") + batch(0, [make_tick()]), "invalid_sequence"),
    (hello("feed-1") + batch(1, []), "invalid_batch"),
    (hello("feed-1") + batch(1, [Tick()] * (MAX_BATCH_TICKS + 1)), "too_many_ticks"),
    (hello("feed-1") + batch(5, [make_tick()]) + batch(7, [make_tick()]), "sequence_gap"),
]


@pytest.mark.parametrize(("data", "reason"), ERRORS, ids=[reason for _, reason in ERRORS])
async def test_an_error_is_told_counted_and_ends_the_session(
    ingest: Ingest, data: bytes, reason: str
) -> None:
    with capture_logs() as lines:
        async with connect_session(ingest.listener.port) as client:
            client.write(data + batch(6, [make_tick()]) * 3)
            error = await client.error()
            assert error.reason == reason
            assert error.detail
    await until(lambda: ingest.closed.totals == {reason: 1})
    (said,) = (line for line in lines if line["event"] == "session_failed")
    assert said["reason"] == reason
    assert not ingest.feed.producers


async def test_a_batch_before_a_violation_counts_and_is_acked(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    async with open_session(ingest.listener.port) as client:
        await client.welcome()
        client.write(batch(1, numbered(1, 5)) + b"\0\0\0\0")
        assert (await client.error()).reason == "empty_frame"
    assert (await wait_for_trades(aggregator, "AAPL", 5)).trades == 5
    async with open_session(ingest.listener.port) as client:
        assert (await client.welcome()).last_sequence == 5


@pytest.mark.parametrize("sent", [MAGIC, MAGIC[:3], MAGIC + hello("feed-1")[:-1]])
async def test_a_session_without_a_hello_ends_after_a_while(sent: bytes) -> None:
    async with (
        run_ingest("127.0.0.1:1", first_tick_timeout_s=0.1, shutdown_deadline_s=1) as ingest,
        connect(ingest.listener.port) as (reader, writer),
    ):
        writer.write(sent)
        if sent.startswith(MAGIC):
            assert (await SessionClient(reader, writer).error()).reason == "hello_timeout"
            writer.close()
            await until(lambda: ingest.closed.totals == {"hello_timeout": 1})
        else:
            async with asyncio.timeout(TIMEOUT_S):
                assert await reader.read() == b""
            assert ingest.closed.totals == {"no_first_tick": 1}


async def test_a_frame_that_does_not_arrive_ends_the_session_and_silence_does_not(
    aggregator: Aggregator,
) -> None:
    async with run_ingest(
        f"127.0.0.1:{aggregator.port}", first_tick_timeout_s=0.2, frame_timeout_s=0.2
    ) as ingest:
        async with open_session(ingest.listener.port) as silent:
            await silent.welcome()
            async with open_session(ingest.listener.port, "late") as late:
                await late.welcome()
                late.write(batch(1, [make_tick()])[:-1])
                assert (await late.error()).reason == "frame_timeout"
            silent.send(1, numbered(1, 1))
            await silent.acked(1)
        assert ingest.closed.totals == {"frame_timeout": 1}


async def test_a_producer_that_has_sent_all_half_closes_and_gets_its_acks(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    async with open_session(ingest.listener.port) as client:
        await client.welcome()
        for first in range(1, 101, 10):
            client.send(first, numbered(first, 10))
        client.writer.write_eof()
        await client.acked(100)
        async with asyncio.timeout(TIMEOUT_S):
            assert await client.reader.read() == b""
    assert not ingest.closed.totals


async def test_what_arrived_before_a_shutdown_is_acked_before_the_goodbye(
    aggregator: Aggregator,
) -> None:
    async with run_ingest(f"127.0.0.1:{aggregator.port}") as ingest:
        async with open_session(ingest.listener.port) as client:
            await client.welcome()
            for first in range(1, 1001, 100):
                client.send(first, numbered(first, 100))
            await client.writer.drain()
            stopping = asyncio.create_task(ingest.stop())
            last = 0
            while (message := await client.next_message()).WhichOneof("message") == "ack":
                last = message.ack.last_sequence
            assert message.error.reason == "shutting_down"
        assert await stopping == 0
    # Whatever was not read is not acked, so it comes again.
    assert aggregator.market.last_sequence("feed-1") == last
    assert aggregator.market.accepted == last


async def test_ticks_of_sessions_that_no_aggregator_took_are_not_lost_at_a_shutdown() -> None:
    async with run_recording_aggregator() as aggregator:
        aggregator.withhold_acks()
        address = f"127.0.0.1:{aggregator.port}"
        async with (
            run_ingest(address, shutdown_deadline_s=0.3) as ingest,
            open_session(ingest.listener.port) as client,
        ):
            await client.welcome()
            client.send(1, numbered(1, 3))
            await aggregator.batches.get()
            assert await ingest.stop() == 0
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.next_message()
        aggregator.release_acks()


async def test_one_session_cannot_fill_the_ring_and_the_others_go_on() -> None:
    async with (
        run_recording_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}", ring_batches=16) as ingest,
    ):
        aggregator.postpone_acks()
        async with (
            open_session(ingest.listener.port, "greedy") as greedy,
            open_session(ingest.listener.port, "modest") as modest,
        ):
            await greedy.welcome()
            await modest.welcome()
            for first in range(1, 101):
                greedy.send(first, numbered(first, 1))
            for _ in range(4):
                assert (await aggregator.batches.get()).producer_id == "greedy"
            modest.send(1, numbered(1, 1))
            assert (await aggregator.batches.get()).producer_id == "modest"
            async with connect(ingest.listener.port) as (_, writer):
                writer.write(frame(make_tick()))
                assert (await aggregator.batches.get()).producer_id.startswith("ingest-")
            assert ingest.ring.free_batches >= 16 - 8
            aggregator.release_acks()
            await greedy.acked(100)
            await modest.acked(1)


async def test_a_full_ring_stops_sessions_and_goes_on_with_each_ack() -> None:
    async with (
        run_recording_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}", ring_batches=2) as ingest,
    ):
        aggregator.postpone_acks()
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            for number in range(6):
                client = await stack.enter_async_context(
                    open_session(ingest.listener.port, f"feed-{number}")
                )
                await client.welcome()
                clients.append(client)
            for client in clients:
                for first in range(1, 21):
                    client.send(first, numbered(first, 1))
            for _ in range(2):
                await aggregator.batches.get()
            assert ingest.ring.is_full
            assert ingest.ring.unacked_ticks == 2
            aggregator.release_acks()
            await asyncio.gather(*(client.acked(20) for client in clients))


async def test_a_producer_that_does_not_read_its_acks_is_not_read() -> None:
    async with (
        run_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
        open_session(ingest.listener.port) as client,
    ):
        await client.welcome()
        # Each rejection makes the acks larger than the batches.
        bad = [make_tick(price=-1, ts_ns=1)] * 5_000
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                client.send(sent + 1, bad)
                async with asyncio.timeout(1):
                    await client.writer.drain()
                sent += len(bad)
                assert sent < 10_000_000
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        ack = await client.acked(sent + len(bad))
        assert len(ack.rejections) == sent + len(bad)


async def test_sessions_count_as_producers_of_the_feed(
    aggregator: Aggregator, ingest: Ingest
) -> None:
    async with open_session(ingest.listener.port) as client:
        await client.welcome()
        client.send(1, numbered(1, 1))
        await client.acked(1)
        assert ingest.feed.producers == 1
        (feed,) = aggregator.feeds.statuses()
        assert feed.report.producers == 1
        assert feed.producer_id.startswith("ingest-")
    assert ingest.feed.accepted == 1


async def test_a_batch_with_refused_ticks_makes_the_same_event_bars() -> None:
    async with (
        run_aggregator(bars="2t", bar_grace_s=0) as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
        open_session(ingest.listener.port) as client,
    ):
        await client.welcome()
        ticks = [make_tick(price=-1 if index % 3 else 5, volume=7) for index in range(30)]
        client.send(1, ticks)
        ack = await client.acked(30)
        assert (ack.accepted, len(ack.rejections)) == (10, 20)
        assert aggregator.market.book.state("AAPL").trades == 10


@pytest.mark.parametrize("seed", range(30))
async def test_garbage_after_the_magic_breaks_nothing(
    ingest: Ingest, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.1)
    random = Random(seed)
    with capture_logs() as lines:
        for _ in range(10):
            parts = [hello(f"feed-{random.randrange(3)}")] if random.random() < 0.7 else []
            for _ in range(random.randrange(5)):
                payload = make_payload(random)
                parts.append(
                    random.choice(
                        (
                            random.randbytes(random.randrange(40)),
                            encode_frame(payload),
                            encode_frame(b"\x12" + bytes((len(payload) % 128,)) + payload),
                            batch(random.randrange(3), [make_tick()]),
                        )
                    )
                )
            async with connect_session(ingest.listener.port) as client:
                client.write(b"".join(parts))
                client.writer.write_eof()
                async with asyncio.timeout(TIMEOUT_S):
                    with contextlib.suppress(ConnectionResetError):
                        await client.reader.read()
    assert not [line for line in lines if line["event"] == "connection_failed"]
    async with open_session(ingest.listener.port, "sound") as client:
        await client.welcome()
        client.send(1, numbered(1, 1))
        await client.acked(1)
