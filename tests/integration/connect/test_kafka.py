"""Values of topics of a real broker are sent once, and read on where the last run ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from connect.kafka import KafkaSource
from marketdata.wire.market_data_pb2 import EXCLUDE_LAST, Tick
from tests.doubles.connecting import Connecting, connecting
from tests.doubles.kafka.broker import is_installed, run_broker
from tests.doubles.session_server import SessionServer, run_session_server

pytestmark = pytest.mark.skipif(not is_installed(), reason="no Kafka broker here")
Start = Callable[..., AbstractAsyncContextManager[Connecting]]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_broker(tmp_path_factory.mktemp("kafka")) as address:
        yield address


@pytest.fixture
async def server() -> AsyncIterator[SessionServer]:
    async with run_session_server() as running:
        yield running


@pytest.fixture
async def writer(broker: str) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=broker) as writer:
        yield writer


@pytest.fixture
def topic() -> str:
    return f"trades-{uuid4().hex[:8]}"


@pytest.fixture
def start(server: SessionServer, broker: str, topic: str) -> Start:
    def start(**settings: Any) -> AbstractAsyncContextManager[Connecting]:
        options = {"kafka": broker, "group": f"group-{topic}"} | settings
        return connecting(partial(KafkaSource, [topic]), server, **options)

    return start


def value(number: int) -> bytes:
    return b'{"symbol":"A","price":%d.5,"qty":0.467,"time":1790000000}' % number


async def committed(broker: str, topic: str) -> int:
    async with AIOKafkaConsumer(bootstrap_servers=broker, group_id=f"group-{topic}") as consumer:
        return await consumer.committed(TopicPartition(topic, 0)) or 0


async def test_a_restart_reads_on_behind_what_was_acked(
    writer: AIOKafkaProducer, broker: str, topic: str, start: Start
) -> None:
    for number in range(3):
        await writer.send_and_wait(topic, value(number))
    async with start() as run:
        await run.until_sent(3)
        while await committed(broker, topic) < 3:
            pass
    await writer.send_and_wait(topic, value(3))
    async with start() as run:
        await run.until_sent(4)
    assert [each.price for each in run.ticks] == [0.5, 1.5, 2.5, 3.5]
    assert {(each.volume, each.volume_decimals) for each in run.ticks} == {(467, 3)}
    assert [each.trade_id.decode() for each in run.ticks] == [f"{topic}/0/{n}" for n in range(4)]


async def test_what_is_read_again_has_the_same_ids(
    writer: AIOKafkaProducer, topic: str, start: Start
) -> None:
    await writer.send_and_wait(topic, b"[%b,%b]" % (value(1), value(2)))
    async with start(group=f"one-{topic}") as run:
        await run.until_sent(2)
    async with start(group=f"two-{topic}") as run:
        await run.until_sent(4)
    ids = [each.trade_id.decode() for each in run.ticks]
    assert ids == [f"{topic}/0/0", f"{topic}/0/0/1"] * 2


async def test_ticks_keep_all_their_fields(
    writer: AIOKafkaProducer, topic: str, start: Start
) -> None:
    sent = Tick(
        symbol="A",
        price=1.5,
        volume=7,
        volume_decimals=2,
        exchange_timestamp=1_790_000_000 * 10**9,
        trade_id=b"\xff1",
        excludes=EXCLUDE_LAST,
    )
    await writer.send_and_wait(topic, b"\xff\xff")
    await writer.send_and_wait(topic, Tick(symbol="A" * 300).SerializeToString())
    await writer.send_and_wait(topic, sent.SerializeToString())
    async with start(format="tick") as run:
        await run.until_sent(1)
        await run.until_said(f"dropped offset 0 of {topic}/0: it is not a Tick")
    assert run.ticks == [sent]


async def test_a_value_that_is_no_trade_is_named_and_passed_over(
    writer: AIOKafkaProducer, topic: str, start: Start
) -> None:
    for each in (b"{", b'{"hello":1}', b'{"price":1,"size":1}', value(9)):
        await writer.send_and_wait(topic, each)
    async with start() as run:
        await run.until_sent(1)
        assert run.said(f"dropped offset 0 of {topic}/0: it is not JSON")
        assert run.said(f"passed over offset 1 of {topic}/0, it is no trade")
    assert run.ticks[0].price == 9.5


async def test_a_broker_that_does_not_answer_is_tried_again(
    writer: AIOKafkaProducer, topic: str, server: SessionServer
) -> None:
    make = partial(KafkaSource, [topic])
    async with connecting(make, server, kafka="127.0.0.1:1") as run:
        await run.until_said("lost: KafkaConnectionError", times=2)
