"""The producers for asyncio and for plain programs, against a model of the server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from marketdata.producer import (
    CannotConnect,
    EncodedTicks,
    InvalidTick,
    LostRange,
    Producer,
    ProducerClosed,
    ProducerError,
    ProducerRefused,
    ProducerReplaced,
    ProtocolViolation,
    RejectedTick,
    ServerLostTicks,
    SyncProducer,
    UnackedTicks,
    encode_rows,
)
from tests.doubles.link import open_link
from tests.doubles.session_server import SessionServer, error_frame, run_session_server

TIMEOUT_S = 30
NOW = 1_735_201_234_567_000_000


class Async:
    """Producer with the calls that both kinds have."""

    kind: type[Any] = Producer

    async def run(self, work: Callable[[], Any]) -> Any:
        result = work()
        return await result if isinstance(result, Awaitable) else result


class Sync(Async):
    """SyncProducer; each call is made in a thread, as the model runs in the loop."""

    kind = SyncProducer

    async def run(self, work: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(work)


@pytest.fixture(params=[Async(), Sync()], ids=["async", "sync"])
def way(request: pytest.FixtureRequest) -> Async:
    found: Async = request.param
    return found


@pytest.fixture
async def server() -> AsyncIterator[SessionServer]:
    async with asyncio.timeout(TIMEOUT_S), run_session_server() as server:
        yield server


def rows(count: int, first: int = 1) -> list[tuple[str, float, int, int]]:
    return [("AAPL", 10.0, number, NOW) for number in range(first, first + count)]


@contextlib.asynccontextmanager
async def opened(way: Async, address: str, **options: Any) -> AsyncIterator[Any]:
    producer = way.kind(address, producer_id="feed-1", **options)
    await way.run(producer.open)
    try:
        yield producer
    except BaseException:
        with contextlib.suppress(Exception):
            await way.run(lambda: producer.close(0.1))
        raise
    await way.run(producer.close)


async def test_every_way_of_sending_counts_each_tick_once(
    way: Async, server: SessionServer
) -> None:
    async with opened(way, server.address) as p:
        await way.run(lambda: p.send("AAPL", 10.0, 1, NOW))
        await way.run(lambda: p.send_many(rows(25_000, 2)))
        volumes = np.arange(25_002, 50_001)
        await way.run(lambda: p.send_columns("AAPL", np.full(24_999, 10.0), volumes, volumes + NOW))
        table = {"symbol": ["AAPL"], "price": [10.0], "volume": [50_001], "timestamp": [NOW]}
        await way.run(lambda: p.send_columns(table))
        (ahead,) = encode_rows(rows(9_999, 50_002))
        await way.run(lambda: p.send_encoded(ahead))
        await way.run(p.flush)
        assert (p.sent, p.acked, p.rejected, p.unacked) == (60_000, 60_000, 0, 0)
        assert p.last_sequence == 60_000
        assert p.connected
    assert [tick.volume for tick in server.ledger.applied] == list(range(1, 60_001))
    assert server.ledger.largest_batch <= 10_000


async def test_a_lost_connection_is_made_again_and_nothing_is_lost_or_doubled(
    way: Async, server: SessionServer
) -> None:
    batches = 0

    def cut_sometimes() -> None:
        nonlocal batches
        batches += 1
        if batches in {2, 5, 9}:
            server.cut()

    server.on_batch = cut_sometimes
    async with opened(way, server.address) as p:
        for start in range(0, 100_000, 10_000):
            await way.run(partial(p.send_many, rows(10_000, start + 1)))
    assert server.connections == 4
    assert (p.sent, p.acked) == (100_000, 100_000)
    assert p.duplicates >= 0
    assert [tick.volume for tick in server.ledger.applied] == list(range(1, 100_001))


async def test_a_restarted_server_gets_what_it_did_not_have(
    way: Async, server: SessionServer
) -> None:
    async with opened(way, server.address) as p:
        await way.run(lambda: p.send_many(rows(100)))
        await way.run(p.flush)
        await server.stop()
        await way.run(lambda: p.send_many(rows(100, 101)))
        assert p.unacked == 100
        await server.start()
    assert [tick.volume for tick in server.ledger.applied] == list(range(1, 201))


async def test_a_fresh_process_goes_on_with_its_id(way: Async, server: SessionServer) -> None:
    for start in (1, 101):
        async with opened(way, server.address) as p:
            await way.run(partial(p.send_many, rows(100, start)))
        assert p.acked == 100
        assert p.last_sequence == start + 99
    assert server.ledger.last_sequences == {"feed-1": 200}
    assert len(server.ledger.applied) == 200


async def test_rejected_ticks_are_reported_with_sequence_reason_and_values(
    way: Async, server: SessionServer
) -> None:
    seen: list[tuple[int, str, RejectedTick]] = []
    async with opened(way, server.address, on_reject=lambda *each: seen.append(each)) as p:
        good, bad = rows(10), [("BAD", -1.0, 7, NOW)]
        await way.run(lambda: p.send_many(good + bad + good))
    assert seen == [(11, "price_not_positive", RejectedTick("BAD", -1.0, 7, NOW))]
    assert (p.sent, p.acked, p.rejected) == (21, 20, 1)


async def test_memory_is_bounded_and_sends_wait(way: Async, server: SessionServer) -> None:
    server.answering.clear()
    async with opened(way, server.address, max_unacked_ticks=1_000) as p:
        sending = asyncio.ensure_future(way.run(lambda: p.send_many(rows(5_000))))
        done, _ = await asyncio.wait([sending], timeout=0.3)
        assert not done
        assert p.unacked == 1_000
        server.answering.set()
        await sending
    assert p.acked == 5_000


async def test_a_piece_that_can_never_fit_is_an_error(way: Async, server: SessionServer) -> None:
    async with opened(way, server.address, max_unacked_ticks=10) as p:
        with pytest.raises(ValueError, match="ticks has 11 ticks, limit is 10"):
            await way.run(lambda: p.send_encoded(EncodedTicks(b"", 11)))
        with pytest.raises(ValueError, match="ticks has 900001 bytes, limit is 900000"):
            await way.run(lambda: p.send_encoded(EncodedTicks(b"x" * 900_001, 1)))


async def test_an_invalid_argument_is_an_error_and_sends_nothing(
    way: Async, server: SessionServer
) -> None:
    async with opened(way, server.address) as p:
        with pytest.raises(InvalidTick, match=r"volume must be a whole number, is 1\.5"):
            await way.run(lambda: p.send("AAPL", 1.0, 1.5, NOW))
        assert p.sent == 0


async def test_flush_says_how_many_are_unacked(way: Async, server: SessionServer) -> None:
    server.answering.clear()
    async with opened(way, server.address) as p:
        await way.run(lambda: p.send_many(rows(3)))
        with pytest.raises(UnackedTicks, match=r"3 ticks are not acked after 0\.05 s: the server"):
            await way.run(lambda: p.flush(0.05))
        server.answering.set()
        await way.run(lambda: p.flush(TIMEOUT_S))
        assert p.acked == 3


async def test_close_says_how_many_are_unacked(way: Async, server: SessionServer) -> None:
    server.answering.clear()
    producer = way.kind(server.address, producer_id="feed-1", close_timeout_s=0.05)
    await way.run(producer.open)
    await way.run(lambda: producer.send_many(rows(3)))
    with pytest.raises(UnackedTicks) as caught:
        await way.run(producer.close)
    assert caught.value.unacked == 3
    with pytest.raises(ProducerClosed):
        await way.run(lambda: producer.send(*rows(1)[0]))
    await way.run(producer.close)
    server.answering.set()


async def test_a_server_that_is_away_is_an_error_at_the_start(way: Async) -> None:
    async with run_session_server() as server:
        await server.stop()
        producer = way.kind(server.address, producer_id="feed-1", connect_timeout_s=0.2)
        problem = (
            r"no session with 127\.0\.0\.1:\d+ within 0.2 s: cannot connect: Connection refused"
        )
        with pytest.raises(CannotConnect, match=problem):
            await way.run(producer.open)


@pytest.mark.parametrize(
    ("data", "error", "problem"),
    [
        (error_frame("invalid_producer_id"), ProducerRefused, "invalid_producer_id: because"),
        (b"HTTP/1.1 400", ProtocolViolation, "announces 1213486160 bytes"),
    ],
)
async def test_a_refused_session_is_an_error_at_the_start(
    way: Async, server: SessionServer, data: bytes, error: type[Exception], problem: str
) -> None:
    server.refuse_with = data
    producer = way.kind(server.address, producer_id="feed-1")
    with pytest.raises(error, match=problem):
        await way.run(producer.open)
    assert server.connections == 1


async def test_an_error_that_passes_leads_to_another_connection(
    way: Async, server: SessionServer
) -> None:
    server.refuse_with = error_frame("shutting_down")
    producer = way.kind(server.address, producer_id="feed-1")
    opening = asyncio.ensure_future(way.run(producer.open))
    await server.connected(3)
    server.refuse_with = None
    await opening
    await way.run(lambda: producer.send_many(rows(3)))
    await way.run(producer.close)
    assert producer.acked == 3


async def test_a_replaced_producer_raises_that_and_stays_away(
    way: Async, server: SessionServer
) -> None:
    producer = way.kind(server.address, producer_id="feed-1")
    await way.run(producer.open)
    server.answering.clear()
    await way.run(lambda: producer.send_many(rows(3)))
    server.say(error_frame("replaced", "another connection has the producer_id"))
    with pytest.raises(ProducerReplaced, match="another connection"):
        await way.run(producer.flush)
    with pytest.raises(ProducerReplaced):
        await way.run(lambda: producer.send(*rows(1)[0]))
    with pytest.raises(ProducerReplaced):
        await way.run(producer.close)
    assert server.connections == 1
    server.answering.set()


async def test_a_server_that_lost_acked_ticks_is_an_error(
    way: Async, server: SessionServer
) -> None:
    producer = way.kind(server.address, producer_id="feed-1")
    await way.run(producer.open)
    await way.run(lambda: producer.send_many(rows(5)))
    await way.run(producer.flush)
    server.ledger.last_sequences["feed-1"] = 2
    server.answering.clear()
    server.cut()
    await way.run(lambda: producer.send(*rows(1)[0]))
    with pytest.raises(ServerLostTicks, match="lost 3 acked ticks"):
        await way.run(producer.close)
    server.answering.set()


async def test_a_loss_at_the_server_can_be_an_event(way: Async, server: SessionServer) -> None:
    lost: list[LostRange] = []
    async with opened(way, server.address, on_server_lost=lost.append) as p:
        await way.run(lambda: p.send_many(rows(5)))
        await way.run(p.flush)
        server.ledger.last_sequences["feed-1"] = 2
        server.cut()
        await way.run(lambda: p.send(*rows(1)[0]))
    assert lost == [LostRange(3, 5)]
    assert p.acked == 6


async def test_a_failing_on_reject_stops_nothing(way: Async, server: SessionServer) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("mine")

    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    async with opened(way, server.address, on_reject=fail) as p:
        await way.run(lambda: p.send_many([("BAD", -1.0, 1, NOW), *rows(3)]))
    assert (p.acked, p.rejected) == (3, 1)
    if way.kind is Producer:
        assert contexts[0]["message"] == "on_reject failed"


async def test_a_server_that_answers_nothing_is_connected_to_again(
    server: SessionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketdata.producer.link.ANSWER_TIMEOUT_S", 0.2)
    async with (
        open_link("127.0.0.1", server.port) as link,
        Producer(link.address, producer_id="feed-1") as p,
    ):
        await p.send_many(rows(3))
        await p.flush()
        link.hold_answers()
        await p.send_many(rows(3))
        await link.next_connection()
        link.hold_answers(False)
        await p.flush()
        assert p.acked == 6
    assert len(server.ledger.applied) == 6


async def test_a_mistake_of_ours_is_an_error_and_no_silence(
    way: Async, server: SessionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = way.kind(server.address, producer_id="feed-1")
    await way.run(producer.open)
    server.answering.clear()
    await way.run(lambda: producer.send_many(rows(3)))

    async def fail(_: object) -> None:
        raise RuntimeError("mine")

    monkeypatch.setattr("marketdata.producer.link.Link._hold_connection", fail)
    server.cut()
    with pytest.raises(ProducerError, match=r"internal error: RuntimeError\('mine'\)"):
        await way.run(producer.flush)
    with pytest.raises(ProducerError):
        await way.run(producer.close)
    server.answering.set()


async def test_a_plain_program_without_file_descriptors_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(work: Any) -> None:
        work.close()

    monkeypatch.setattr("marketdata.producer.sync.asyncio.run", fail)
    producer = SyncProducer("localhost:50050", producer_id="feed-1")
    with pytest.raises(CannotConnect, match="the thread of the session did not start"):
        producer.open()


async def test_a_cancelled_send_was_not_sent(server: SessionServer) -> None:
    server.answering.clear()
    async with Producer(server.address, producer_id="feed-1", max_unacked_ticks=10) as p:
        await p.send_many(rows(10))
        sending = asyncio.create_task(p.send("AAPL", 10.0, 99, NOW))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert p.sent == 10
        server.answering.set()
    assert 99 not in [tick.volume for tick in server.ledger.applied]


async def test_a_cancelled_send_many_sent_a_prefix(server: SessionServer) -> None:
    server.answering.clear()
    async with Producer(server.address, producer_id="feed-1", max_unacked_ticks=5_000) as p:
        sending = asyncio.create_task(p.send_many(rows(50_000)))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        sent = p.sent
        server.answering.set()
    assert 0 < sent <= 5_000
    assert [tick.volume for tick in server.ledger.applied] == list(range(1, sent + 1))


async def test_an_error_in_the_context_is_raised_with_a_note(server: SessionServer) -> None:
    server.answering.clear()

    async def fail() -> None:
        async with Producer(server.address, producer_id="feed-1", close_timeout_s=0.05) as p:
            await p.send_many(rows(3))
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        await fail()
    assert caught.value.__notes__ == [
        "the producer closed with: 3 ticks are not acked after 0.05 s: the server does not answer"
    ]
    server.answering.set()


async def test_a_sender_that_never_waits_lets_other_tasks_run(server: SessionServer) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    async with Producer(server.address, producer_id="feed-1") as p:
        for row in rows(20_000):
            await p.send(*row)
    counting.cancel()
    assert turns >= 20


async def test_several_threads_may_send(server: SessionServer) -> None:
    def work() -> None:
        with SyncProducer(server.address, producer_id="feed-1", max_unacked_ticks=500) as p:
            threads = [
                threading.Thread(target=send_own, args=(p, f"S{number}")) for number in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            p.flush()
            assert p.acked == 4_000

    def send_own(p: SyncProducer, symbol: str) -> None:
        for number in range(1, 1_001):
            p.send(symbol, 1.0, number, NOW)

    await asyncio.to_thread(work)
    for number in range(4):
        own = [tick.volume for tick in server.ledger.applied if tick.symbol == f"S{number}"]
        assert own == list(range(1, 1_001))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"address": "localhost"}, "address 'localhost' must be HOST:PORT"),
        ({"address": "localhost:0"}, "address 'localhost:0' must be HOST:PORT"),
        ({"producer_id": ""}, "producer_id has 0 characters, limits are 1 and 64"),
        ({"producer_id": "x" * 65}, "producer_id has 65 characters"),
        ({"producer_id": "é"}, "producer_id 'é' must be printable ASCII"),
        ({"producer_id": "a b"}, "producer_id 'a b' must be printable ASCII without spaces"),
        ({"producer_id": "ingest-1"}, "producer_id 'ingest-1' must not begin with ingest-"),
        ({"producer_id": 5}, "producer_id must be a string, is 5"),
        ({"timestamp_unit": "h"}, "timestamp_unit 'h' must be one of auto, s, ms, us, ns"),
        ({"max_unacked_ticks": 0}, "max_unacked_ticks is 0, must be 1 or more"),
        ({"max_unacked_bytes": 1000}, "max_unacked_bytes is 1000, must be 900000 or more"),
        ({"connect_timeout_s": 0}, "connect_timeout_s is 0, must be above 0"),
        ({"close_timeout_s": float("nan")}, "close_timeout_s is nan, must be above 0"),
    ],
)
def test_an_invalid_option_is_named(way: Async, options: dict[str, Any], problem: str) -> None:
    given = {"address": "localhost:50050", "producer_id": "feed-1", **options}
    with pytest.raises(ValueError, match=problem):
        way.kind(**given)


def test_an_unknown_option_is_named(way: Async) -> None:
    with pytest.raises(TypeError, match="unknown option 'batch'"):
        way.kind("localhost:50050", producer_id="feed-1", batch=5)
