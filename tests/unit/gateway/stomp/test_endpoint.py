"""The STOMP endpoint on connections that do as they are told."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

import pytest

from gateway.clients.capacity import Capacity
from gateway.clients.connection import ANY_BATCH, Peer
from gateway.clients.outbox import BufferFull
from gateway.clients.shared import SharedMessages
from gateway.hub.history import History
from gateway.hub.hub import Hub
from gateway.hub.updates import FeedStatus
from gateway.live.session import LiveLimits, Sessions
from gateway.stomp.endpoint import StompEndpoint, StompHandler, StompLimits
from gateway.stomp.protocol.session import SessionLimits
from marketdata.wire.market_data_pb2 import Aggregate
from tests.doubles.stomp import Frame, decode, encode
from tests.unit.gateway.stream.doubles import NoHistory

AAPL = "/topic/market-data/AAPL"


class FakeConnection:
    """Takes what it is sent while ``writable`` and not ``full``."""

    def __init__(self) -> None:
        self.peer = Peer("fake")
        self.max_batch = ANY_BATCH
        self.buffered_bytes = 0
        self.writable = True
        self.full = False
        self.broken = False
        self.sent: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.heartbeats = True
        self.changed = asyncio.Event()

    def send_nowait(self, message: str | bytes) -> None:
        if self.broken:
            raise RuntimeError("a bug")
        if self.full:
            raise BufferFull(len(message), 1000, 1000)
        assert isinstance(message, str)
        self.sent.append(message)
        self.changed.set()

    def send_text(self, message: bytes) -> None:
        self.send_nowait(message.decode())

    def send_shared(self, messages: SharedMessages) -> None:
        for message in messages.messages:
            self.send_text(message)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = self.closed or (code, reason)
        self.changed.set()

    def suppress_heartbeats(self) -> None:
        self.heartbeats = False

    def take(self) -> list[Frame]:
        """Return the frames that were sent since the last call."""
        frames = [decode(text) for text in self.sent if text != "\n"]
        self.sent.clear()
        return frames

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Client:
    """A session of the endpoint."""

    def __init__(self, endpoint: StompEndpoint, *subscriptions: str, **connect: str) -> None:
        self.connection = FakeConnection()
        self.handler = StompHandler(endpoint)
        self.handler.on_open(self.connection)
        self.say("CONNECT", accept_version="1.2", **connect)
        for number, destination in enumerate(subscriptions):
            self.say("SUBSCRIBE", id=str(number), destination=destination)
        self.connection.take()

    def say(self, command: str, body: str = "", **headers: str) -> None:
        self.handler.on_message(encode(command, body, **headers))


@pytest.fixture
def hub() -> Hub:
    hub = Hub(History(1000, 60), linger_s=0, max_symbols=100, clock=lambda: 0.0)
    hub.set_status(FeedStatus.LIVE)
    return hub


@pytest.fixture
async def endpoint(hub: Hub) -> StompEndpoint:
    return make_endpoint(hub)


def make_endpoint(hub: Hub, limits: StompLimits | None = None) -> StompEndpoint:
    sessions = Sessions(hub, NoHistory(), LiveLimits(), time.monotonic, time_ns=time.time_ns)
    return StompEndpoint(sessions, Capacity(10), limits=limits)


def publish(hub: Hub, close: float, sequence: int, symbol: str = "AAPL") -> None:
    hub.publish([state(close, sequence, symbol)])


def state(close: float, sequence: int, symbol: str = "AAPL") -> bytes:
    aggregate = Aggregate(symbol=symbol, close=close, sequence=sequence, epoch=1)
    return aggregate.SerializeToString()


async def test_a_reader_that_is_behind_gets_only_the_newest_of_each_symbol(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    client = Client(endpoint, "/topic/market-data/*")
    client.connection.writable = False
    for sequence in range(1, 6):
        publish(hub, sequence, sequence)
        publish(hub, 10 * sequence, sequence, "MSFT")
    assert not client.connection.take()
    client.connection.writable = True
    client.handler.on_drained()
    frames = client.connection.take()
    assert [(frame.json["symbol"], frame.json["close"]) for frame in frames] == [
        ("AAPL", 5.0),
        ("MSFT", 50.0),
    ]
    assert {frame["conflated"] for frame in frames} == {"true"}


async def test_a_status_that_came_and_went_is_told_once_and_before_the_states(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    client = Client(endpoint, AAPL, "/topic/status")
    client.connection.writable = False
    for _ in range(3):
        hub.set_status(FeedStatus.STALE)
        hub.set_status(FeedStatus.LIVE)
    publish(hub, 1.0, 1)
    client.connection.writable = True
    client.handler.on_drained()
    frames = client.connection.take()
    assert [frame["destination"] for frame in frames] == ["/topic/status", "/topic/status", AAPL]
    assert [frame.json for frame in frames[:2]] == [{"status": "live"}] * 2


async def test_after_unsubscribe_nothing_is_told(hub: Hub, endpoint: StompEndpoint) -> None:
    client = Client(endpoint, AAPL, "/topic/status", "/topic/signaling")
    for number in range(3):
        client.say("UNSUBSCRIBE", id=str(number))
    hub.set_status(FeedStatus.STALE)
    publish(hub, 1.0, 1)
    client.say("SEND", '{"type":"JOIN","senderId":"a"}', destination="/app/signal")
    assert not client.connection.take()
    assert not hub.subscriptions
    assert not endpoint.signaling


async def test_who_cannot_be_sent_a_signal_is_a_slow_consumer_and_the_others_get_it(
    endpoint: StompEndpoint,
) -> None:
    full, other = Client(endpoint, "/topic/signaling"), Client(endpoint, "/topic/signaling")
    full.connection.full = True
    other.say("SEND", '{"type":"JOIN","senderId":"a"}', destination="/app/signal")
    assert full.connection.closed is not None
    assert full.connection.closed[0] == 4490
    assert [frame.command for frame in other.connection.take()] == ["MESSAGE"]
    assert endpoint.failed == {"slow_consumer": 1}
    assert list(endpoint.sessions) == [other.handler]


async def test_a_bug_in_one_session_ends_no_other(hub: Hub, endpoint: StompEndpoint) -> None:
    topics = (AAPL, "/topic/signaling")
    broken, other = Client(endpoint, *topics), Client(endpoint, *topics)
    broken.connection.broken = True
    publish(hub, 1.0, 1)
    assert broken.connection.closed == (1011, "Internal error")
    assert [frame["destination"] for frame in other.connection.take()] == [AAPL]
    broken = Client(endpoint, "/topic/signaling")
    broken.connection.broken = True
    other.say("SEND", '{"type":"JOIN","senderId":"a"}', destination="/app/signal")
    assert broken.connection.closed == (1011, "Internal error")
    assert len(other.connection.take()) == 1
    assert hub.subscriptions == 1


async def test_heart_beats_go_out_and_replace_those_of_sockjs(hub: Hub) -> None:
    limits = StompLimits(session=SessionLimits(heart_beat_ms=(20, 10_000)))
    client = Client(make_endpoint(hub, limits), heart_beat="10000,20")
    assert not client.connection.heartbeats
    await client.connection.until(lambda: client.connection.sent.count("\n") >= 3)
    client.handler.on_close(1006, "")


async def test_who_promised_heart_beats_and_is_silent_is_ended(hub: Hub) -> None:
    limits = StompLimits(session=SessionLimits(heart_beat_ms=(0, 20)))
    client = Client(make_endpoint(hub, limits), AAPL, heart_beat="20,0")
    await client.connection.until(lambda: client.connection.closed)
    assert client.connection.closed is not None
    assert client.connection.closed[0] == 4408
    assert client.connection.take()[-1].command == "ERROR"
    assert not hub.subscriptions


async def test_who_never_says_connect_is_ended(hub: Hub) -> None:
    endpoint = make_endpoint(hub, StompLimits(session=SessionLimits(connect_timeout_s=0.02)))
    connection, handler = FakeConnection(), StompHandler(endpoint)
    handler.on_open(connection)
    await connection.until(lambda: connection.closed)
    assert connection.closed is not None
    assert connection.closed[0] == 4408
    assert not list(endpoint.sessions)


def ids(frames: list[Frame]) -> list[str]:
    return [frame["message-id"] for frame in frames]


async def test_those_with_one_subscription_id_are_sent_the_same_bytes(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    one, two = Client(endpoint, AAPL), Client(endpoint, AAPL)
    for sequence in (1, 2, 3):
        publish(hub, 10.0 * sequence, sequence)
    assert one.connection.sent[1:] == two.connection.sent[1:]
    # The first is of the session alone.
    assert one.connection.sent[0] != two.connection.sent[0]
    frames = one.connection.take()
    assert [frame.json["close"] for frame in frames] == [10.0, 20.0, 30.0]
    assert [frame["sequence"] for frame in frames] == ["1", "2", "3"]
    assert {frame["subscription"] for frame in frames} == {"0"}
    assert len(set(ids(frames))) == 3


async def test_two_subscriptions_of_one_session_never_share_a_message_id(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    client = Client(endpoint, AAPL, "/topic/market-data/*")
    for sequence in (1, 2, 3):
        publish(hub, 1.0, sequence)
    assert len(set(ids(client.connection.take()))) == 6


async def test_a_message_that_others_get_too_may_be_acknowledged(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    client = Client(endpoint, AAPL)
    publish(hub, 1.0, 1)
    publish(hub, 2.0, 2)
    for message_id in ids(client.connection.take()):
        client.say("ACK", id=message_id)
    assert client.connection.closed is None
    client.say("ACK", id="m1-x")
    assert client.connection.closed is not None


async def test_a_subscription_that_ends_in_the_message_that_begins_it_is_sent_nothing(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    client, _ = Client(endpoint), Client(endpoint, AAPL)
    publish(hub, 1.0, 1)
    begin = encode("SUBSCRIBE", "", id="0", destination=AAPL)
    client.handler.on_message(begin + encode("UNSUBSCRIBE", "", id="0"))
    assert client.connection.take() == []
    assert client.connection.closed is None


async def test_two_subscriptions_that_overflow_end_the_session_once(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    client = Client(endpoint)
    for number in range(2):
        client.say("SUBSCRIBE", id=str(number), destination=AAPL, policy="buffer")
    client.connection.writable = False
    for sequence in range(1, 2000):
        publish(hub, 1.0, sequence)
    assert client.connection.closed is not None
    assert client.connection.closed[0] == 4490
    assert endpoint.failed == {"slow_consumer": 1}


async def test_who_acknowledges_has_ids_of_its_own_session(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    client = Client(endpoint)
    client.say("SUBSCRIBE", id="0", destination=AAPL, ack="client")
    for sequence in (1, 2, 3):
        publish(hub, 1.0, sequence)
    frames = client.connection.take()
    assert [frame["ack"] for frame in frames] == ids(frames)
    assert len({message_id.rpartition("-")[0] for message_id in ids(frames)}) == 1


async def test_a_skipped_state_of_a_batch_is_told(hub: Hub, endpoint: StompEndpoint) -> None:
    client, buffering = Client(endpoint, AAPL), Client(endpoint)
    buffering.say("SUBSCRIBE", id="0", destination=AAPL, policy="buffer")
    publish(hub, 1.0, 1)
    hub.publish([state(n, n) for n in range(2, 5)])
    first, newest = client.connection.take()
    assert "conflated" not in first.headers
    assert (newest["sequence"], newest["conflated"]) == ("4", "true")
    frames = buffering.connection.take()
    assert [frame["sequence"] for frame in frames] == ["1", "2", "3", "4"]
    assert not any("conflated" in frame.headers for frame in frames)


async def test_what_is_shared_is_let_go_with_the_last_who_shares_it(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    one, two = Client(endpoint, AAPL), Client(endpoint, AAPL)
    publish(hub, 1.0, 1)
    assert len(endpoint.encoders) == 1
    one.say("UNSUBSCRIBE", id="0")
    assert len(endpoint.encoders) == 1
    two.handler.on_close(1006, "")
    del two
    gc.collect()
    assert not len(endpoint.encoders)


async def test_who_cannot_be_sent_a_batch_is_a_slow_consumer_and_the_others_get_it(
    hub: Hub, endpoint: StompEndpoint
) -> None:
    full, other = Client(endpoint, AAPL), Client(endpoint, AAPL)
    publish(hub, 1.0, 1)
    full.connection.full = True
    publish(hub, 2.0, 2)
    assert full.connection.closed is not None
    assert full.connection.closed[0] == 4490
    assert [frame["sequence"] for frame in other.connection.take()] == ["1", "2"]
    assert hub.subscriptions == 1


async def test_a_bug_while_a_batch_is_sent_ends_no_other(hub: Hub, endpoint: StompEndpoint) -> None:
    broken, other = Client(endpoint, AAPL), Client(endpoint, AAPL)
    publish(hub, 1.0, 1)
    broken.connection.broken = True
    publish(hub, 2.0, 2)
    assert broken.connection.closed == (1011, "Internal error")
    assert len(other.connection.take()) == 2


SIGNALING = "/topic/signaling"
JOIN = '{"type":"JOIN","senderId":"ann"}'


async def test_a_signal_goes_to_every_subscriber_and_to_no_other(endpoint: StompEndpoint) -> None:
    sender, other, outsider = (Client(endpoint, topic) for topic in (SIGNALING, SIGNALING, AAPL))
    sender.say("SEND", JOIN, destination="/app/signal")
    for client in (sender, other):
        assert [frame.json["senderId"] for frame in client.connection.take()] == ["ann"]
    assert outsider.connection.take() == []
