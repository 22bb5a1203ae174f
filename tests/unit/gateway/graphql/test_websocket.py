"""The WebSocket world on a real hub, with a client that reads when it wants to."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import time
import warnings
from typing import Any, cast

import pytest

from gateway.backend.client import AggregatorClient
from gateway.clients.capacity import Capacity
from gateway.clients.connection import ANY_BATCH, Connection, Peer
from gateway.clients.outbox import BufferFull
from gateway.clients.shared import SharedMessages
from gateway.ending import end_sessions
from gateway.graphql.documents import DocumentLimits, Documents
from gateway.graphql.execution import Execution
from gateway.graphql.schema import build_schema
from gateway.graphql.websocket import GraphQLEndpoint, GraphQLWebSocket, WebSocketLimits
from gateway.hub.history import History
from gateway.hub.hub import Hub
from gateway.hub.subscription import BufferLimits
from gateway.hub.updates import UPDATE_BYTES, FeedStatus, Update
from gateway.live.session import LiveLimits, Sessions
from marketdata.wire.market_data_pb2 import Aggregate
from tests.unit.gateway.stream.doubles import NoHistory

SCHEMA = build_schema()
LIMITS = WebSocketLimits(max_symbols=20)
LIVE_LIMITS = LiveLimits(max_subscriptions=3)


class Client(Connection):
    """The connection of a client that stops and resumes reading."""

    def __init__(self, subprotocol: str | None = "graphql-transport-ws") -> None:
        self._peer = Peer("test", subprotocol=subprotocol)
        self._writable = True
        self.full = False
        self.messages: list[Any] = []
        self.closed: tuple[int, str] | None = None
        self.over = asyncio.Event()

    @property
    def peer(self) -> Peer:
        return self._peer

    @property
    def buffered_bytes(self) -> int:
        return 0

    @property
    def writable(self) -> bool:
        return self._writable

    @property
    def max_batch(self) -> int:
        return ANY_BATCH

    def send_nowait(self, message: str | bytes) -> None:
        raise AssertionError("every message is bytes of JSON")

    def send_text(self, message: bytes) -> None:
        if self.full:
            raise BufferFull(len(message), 0, 0)
        self.messages.append(json.loads(message))

    def send_shared(self, messages: SharedMessages) -> None:
        for message in messages.messages:
            self.send_text(message)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = self.closed or (code, reason)
        self.over.set()

    def suppress_heartbeats(self) -> None:
        raise AssertionError("only SockJS has them")

    def taken(self) -> list[Any]:
        messages, self.messages = self.messages, []
        return messages


class World:
    """One client, its handler, and the hub behind it.

    ::

        world.subscribe("1", "AAPL")
        world.publish(AAPL=1.0)
        world.states("1")

    """

    def __init__(
        self,
        limits: WebSocketLimits = LIMITS,
        live_limits: LiveLimits = LIVE_LIMITS,
        subprotocol: str | None = "graphql-transport-ws",
        max_followed: int = 100,
    ) -> None:
        self.hub = Hub(History(100, 60), linger_s=60, max_symbols=max_followed, clock=lambda: 0.0)
        self.hub.set_status(FeedStatus.LIVE)
        self.execution = Execution(
            SCHEMA,
            Documents(SCHEMA, DocumentLimits(10, 100, 2000)),
            # Nothing here is asked of the aggregator.
            cast("AggregatorClient", None),
            max_symbols=10,
            buffer_limits=BufferLimits(3 * UPDATE_BYTES, 30),
        )
        self.endpoint = GraphQLEndpoint(
            self.execution,
            Sessions(
                self.hub,
                NoHistory(),
                live_limits,
                time.monotonic,
                self._note_bug,
                time_ns=time.time_ns,
            ),
            Capacity(100),
            allow_origin=lambda origin, connection: True,
            limits=limits,
        )
        self.bugs = 0
        self.sequences: dict[str, int] = {}
        self.epoch = 7
        self.client, self.handler = self.connect(subprotocol)

    def connect(
        self, subprotocol: str | None = "graphql-transport-ws"
    ) -> tuple[Client, GraphQLWebSocket]:
        client = Client(subprotocol)
        handler = GraphQLWebSocket(self.endpoint)
        handler.on_open(client)
        if subprotocol:
            handler.on_message('{"type":"connection_init"}')
            assert client.taken() == [{"type": "connection_ack"}]
        return client, handler

    def _note_bug(self) -> None:
        self.bugs += 1

    def send(self, **message: Any) -> None:
        self.handler.on_message(json.dumps(message))

    def subscribe(self, operation: str, *symbols: str, more: str = "", **payload: Any) -> None:
        query = (
            f"subscription {{ marketData(symbols: {json.dumps(symbols)} {more}) "
            "{ symbol close sequence } }"
        )
        self.send(type="subscribe", id=operation, payload={"query": query, **payload})

    def publish(self, **closes: float) -> None:
        aggregates = []
        for symbol, close in closes.items():
            self.sequences[symbol] = self.sequences.get(symbol, 0) + 1
            aggregates.append(
                Aggregate(
                    symbol=symbol, close=close, sequence=self.sequences[symbol], epoch=self.epoch
                ).SerializeToString()
            )
        self.hub.publish(aggregates)

    def stop_reading(self) -> None:
        self.client._writable = False

    def read_again(self) -> None:
        self.client._writable = True
        self.handler.on_drained()

    def states(self, operation: str) -> list[tuple[Any, ...]]:
        """Return symbol, close and extensions of the states that came for ``operation``."""
        states = []
        for message in self.client.taken():
            assert (message["type"], message["id"]) == ("next", operation)
            state = message["payload"]["data"]["marketData"] or {"symbol": None, "close": None}
            extensions = message["payload"]["extensions"]
            states.append((state["symbol"], state["close"], extensions))
        return states

    def error(self) -> tuple[str, str]:
        (message,) = self.client.taken()
        assert message["type"] == "error"
        return message["id"], message["payload"][0]["extensions"]["code"]


LIVE = {"dataStatus": "live"}
STALE = {"dataStatus": "stale"}


@pytest.fixture
async def world() -> World:
    return World()


async def test_the_present_state_comes_first_then_every_change(world: World) -> None:
    world.hub.begin_epoch(7)
    world.subscribe("0", "AAPL")
    world.publish(AAPL=1.0)
    world.send(type="complete", id="0")
    world.client.taken()
    world.subscribe("1", "AAPL", "MSFT")
    assert world.states("1") == [("AAPL", 1.0, LIVE)]
    world.publish(AAPL=2.0, MSFT=3.0, OTHER=9.0)
    assert world.states("1") == [("AAPL", 2.0, LIVE), ("MSFT", 3.0, LIVE)]


async def test_a_slow_reader_gets_the_newest_state_per_symbol_once_it_reads(world: World) -> None:
    world.subscribe("1", "AAPL", "MSFT")
    world.stop_reading()
    for close in range(1, 1001):
        world.publish(AAPL=float(close))
    world.publish(MSFT=5.0)
    assert world.client.messages == []
    world.read_again()
    assert world.states("1") == [
        ("AAPL", 1000.0, {"dataStatus": "live", "conflated": 999}),
        ("MSFT", 5.0, LIVE),
    ]


async def test_policy_buffer_keeps_every_state(world: World) -> None:
    world.subscribe("1", "AAPL", more="policy: BUFFER")
    world.stop_reading()
    for close in (1.0, 2.0, 3.0):
        world.publish(AAPL=close)
    world.read_again()
    assert [close for _, close, _ in world.states("1")] == [1.0, 2.0, 3.0]


async def test_policy_buffer_ends_the_subscription_at_its_bound_and_nothing_else(
    world: World,
) -> None:
    world.subscribe("1", "AAPL", more="policy: BUFFER")
    world.subscribe("2", "AAPL")
    world.stop_reading()
    for close in (1.0, 2.0, 3.0, 4.0):
        world.publish(AAPL=close)
    assert world.error() == ("1", "SLOW_CONSUMER")
    world.read_again()
    assert [close for _, close, _ in world.states("2")] == [4.0]
    assert world.client.closed is None
    assert world.hub.subscriptions == 1


async def test_a_lost_aggregator_is_told_with_the_last_state_and_so_is_its_return(
    world: World,
) -> None:
    world.subscribe("1", "AAPL")
    world.publish(AAPL=1.0)
    world.client.taken()
    world.hub.set_status(FeedStatus.STALE)
    assert world.states("1") == [("AAPL", 1.0, STALE)]
    world.hub.set_status(FeedStatus.LIVE)
    assert world.states("1") == [("AAPL", 1.0, LIVE)]
    world.publish(AAPL=2.0)
    assert world.states("1") == [("AAPL", 2.0, LIVE)]


async def test_an_aggregator_that_forgot_is_told_as_such(world: World) -> None:
    world.subscribe("1", "AAPL")
    world.publish(AAPL=1.0)
    world.hub.set_status(FeedStatus.STALE)
    world.client.taken()
    world.epoch = 8
    world.hub.begin_epoch(8)
    world.hub.set_status(FeedStatus.LIVE)
    # Nothing is known in the new epoch, and what was known is not the present.
    assert world.states("1") == [(None, None, LIVE)]
    world.sequences.clear()
    world.publish(AAPL=5.0)
    assert world.states("1") == [("AAPL", 5.0, {"dataStatus": "live", "recovered": False})]


async def test_who_subscribes_while_the_aggregator_is_away_is_told_at_once(world: World) -> None:
    world.hub.set_status(FeedStatus.STALE)
    world.subscribe("1", "AAPL")
    assert world.states("1") == [(None, None, STALE)]


async def test_a_slow_reader_is_not_told_of_a_loss_that_is_over(world: World) -> None:
    world.subscribe("1", "AAPL")
    world.publish(AAPL=1.0)
    world.client.taken()
    world.stop_reading()
    world.hub.set_status(FeedStatus.STALE)
    world.hub.set_status(FeedStatus.LIVE)
    world.read_again()
    assert world.states("1") == []


async def test_a_slow_reader_is_told_of_a_loss_once_it_reads(world: World) -> None:
    world.subscribe("1", "AAPL")
    world.stop_reading()
    world.publish(AAPL=1.0)
    world.hub.set_status(FeedStatus.STALE)
    world.read_again()
    assert world.states("1") == [("AAPL", 1.0, STALE)]


async def test_who_comes_back_gets_what_it_missed(world: World) -> None:
    world.subscribe("1", "AAPL")
    for close in (1.0, 2.0, 3.0):
        world.publish(AAPL=close)
    world.send(type="complete", id="1")
    world.client.taken()
    more = 'policy: BUFFER, resume: {epoch: "7", lastSequences: [{symbol: "AAPL", sequence: "1"}]}'
    world.subscribe("1", "AAPL", more=more)
    recovered = {"dataStatus": "live", "recovered": True}
    assert world.states("1") == [("AAPL", 2.0, recovered), ("AAPL", 3.0, recovered)]


async def test_every_symbol_can_be_followed(world: World) -> None:
    world.subscribe("1", "*")
    world.publish(AAPL=1.0, MSFT=2.0)
    assert [symbol for symbol, _, _ in world.states("1")] == ["AAPL", "MSFT"]


async def test_after_complete_nothing_more_comes_and_the_id_is_free(world: World) -> None:
    world.subscribe("1", "AAPL")
    world.send(type="complete", id="1")
    world.publish(AAPL=1.0)
    assert world.client.taken() == []
    assert world.hub.subscriptions == 0
    world.subscribe("1", "AAPL")
    assert world.states("1") == [("AAPL", 1.0, LIVE)]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("mutation { nope }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "subscription ($s: [String!]!) { marketData(symbols: $s) { symbol } }",
            "BAD_USER_INPUT",
        ),
        ("query ($s: String!) { marketData(symbol: $s) { symbol } }", "BAD_USER_INPUT"),
        ('subscription { marketData(symbols: ["A,B"]) { symbol } }', "BAD_USER_INPUT"),
        ("subscription { marketData(symbols: []) { symbol } }", "BAD_USER_INPUT"),
        (
            "subscription { marketData(symbols: ["
            + ", ".join(f'"S{n}"' for n in range(11))
            + "]) { symbol } }",
            "BAD_USER_INPUT",
        ),
        (
            'subscription { marketData(symbols: ["A"], resume: {epoch: "-1", lastSequences: []}) '
            "{ symbol } }",
            "BAD_USER_INPUT",
        ),
    ],
)
async def test_an_operation_that_cannot_run_ends_alone(world: World, query: str, code: str) -> None:
    world.subscribe("other", "AAPL")
    world.send(type="subscribe", id="1", payload={"query": query})
    await asyncio.gather(*world.handler._queries.values())
    assert world.error() == ("1", code)
    assert world.client.closed is None
    world.publish(AAPL=1.0)
    assert world.states("other") == [("AAPL", 1.0, LIVE)]
    assert len(world.execution._projections) == 1


async def test_operations_are_limited_and_the_limit_counts_those_that_run(world: World) -> None:
    for operation in ("1", "2", "3", "4"):
        world.subscribe(operation, "AAPL")
    assert world.error() == ("4", "TOO_MANY_OPERATIONS")
    world.send(type="complete", id="1")
    world.subscribe("4", "AAPL")
    assert world.client.taken() == []
    assert world.hub.subscriptions == 3


async def test_a_symbol_too_many_for_the_gateway_is_refused() -> None:
    world = World(max_followed=1)
    world.subscribe("1", "AAPL")
    world.subscribe("2", "MSFT")
    assert world.error() == ("2", "TOO_MANY_SYMBOLS")
    assert len(world.execution._projections) == 1


async def test_the_symbols_of_a_client_are_limited(world: World) -> None:
    for operation in ("1", "2", "3"):
        world.subscribe(operation, *(f"S{n}" for n in range(10)))
    assert world.error() == ("3", "TOO_MANY_SYMBOLS")
    assert world.hub.subscriptions == 2


async def test_a_server_that_stops_says_so(world: World) -> None:
    await end_sessions(world.endpoint.sessions, 0)
    assert world.client.closed is not None
    code, reason = world.client.closed
    assert code == 1012
    assert re.fullmatch(r"server-shutdown; reconnectAfterMs=[1-6]\d{3}", reason)
    world.handler.on_close(1012, "")
    assert not list(world.endpoint.sessions)


async def test_a_bug_ends_one_client_and_not_the_feed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = world.client
    world.subscribe("1", "AAPL")
    monkeypatch.setattr(broken, "send_shared", None)
    world.client, world.handler = world.connect()
    world.subscribe("1", "AAPL")
    world.publish(AAPL=1.0)
    world.hub.set_status(FeedStatus.STALE)
    assert broken.closed == (1011, "Internal error")
    assert world.bugs == 1
    assert [extensions for *_, extensions in world.states("1")] == [LIVE, STALE]


async def test_a_client_that_sends_too_often_is_closed() -> None:
    world = World(live_limits=LiveLimits(message_rate=1, message_burst=3))
    for _ in range(2):
        world.send(type="ping")
    assert world.client.closed is None
    world.send(type="ping")
    assert world.client.closed == (4429, "more than 1 messages per second")


async def test_a_client_that_asks_for_more_than_it_reads_is_closed(world: World) -> None:
    world.client.full = True
    world.send(type="ping")
    assert world.client.closed is not None
    assert world.client.closed[0] == 4490


async def test_a_client_without_the_subprotocol_is_closed_with_4406() -> None:
    world = World(subprotocol=None)
    assert world.client.closed == (4406, "Subprotocol not acceptable")


async def test_connection_init_has_to_come_in_time() -> None:
    world = World(live_limits=LiveLimits(first_message_timeout_s=0.01))
    client = Client()
    handler = GraphQLWebSocket(world.endpoint)
    handler.on_open(client)
    async with asyncio.timeout(30):
        await client.over.wait()
    assert client.closed == (4408, "Connection initialisation timeout")
    assert world.client.closed is None


async def test_a_closed_connection_leaves_nothing_behind(world: World) -> None:
    world.subscribe("1", "AAPL")
    world.send(type="subscribe", id="2", payload={"query": "{ __typename }"})
    (query,) = world.handler._queries.values()
    world.handler.on_close(1006, "")
    await asyncio.wait([query])
    assert query.cancelled()
    assert (world.hub.subscriptions, world.execution._projections) == (0, {})
    world.publish(AAPL=1.0)
    assert world.client.taken() == []


async def test_an_id_of_a_query_that_was_completed_is_free_while_the_query_still_ends(
    world: World,
) -> None:
    world.send(type="subscribe", id="1", payload={"query": "{ a: __typename }"})
    world.send(type="complete", id="1")
    world.send(type="subscribe", id="1", payload={"query": "{ b: __typename }"})
    await asyncio.gather(*world.handler._queries.values())
    assert world.client.taken() == [
        {"id": "1", "type": "next", "payload": {"data": {"b": "Query"}}},
        {"id": "1", "type": "complete"},
    ]
    assert world.handler._queries == {}


async def test_what_nobody_foresaw_closes_the_connection_and_is_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.execution, "run", None)
    world.send(type="subscribe", id="1", payload={"query": "{ __typename }"})
    await asyncio.gather(*world.handler._queries.values())
    assert world.client.closed == (1011, "Internal error")
    assert world.bugs == 1


async def test_an_update_is_encoded_once_for_all_who_select_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [world.connect() for _ in range(4)]
    world.subscribe("1", "AAPL")
    first = world.handler
    for _, world.handler in others:
        world.subscribe("1", "AAPL")
    (projection,) = world.execution._projections.values()
    encoded: list[object] = []
    encode = projection._encode

    def counting(update: Update | None) -> bytes:
        encoded.append(update)
        return encode(update)

    monkeypatch.setattr(projection, "_encode", counting)
    world.publish(AAPL=1.0)
    assert len(encoded) == 1
    for client in (world.client, *(client for client, _ in others)):
        (message,) = client.taken()
        assert message["payload"]["data"]["marketData"]["close"] == 1.0
    for handler in (first, *(handler for _, handler in others)):
        handler.on_close(1000, "")
    assert world.execution._projections == {}


async def test_variables_that_change_the_selection_have_an_encoding_of_their_own(
    world: World,
) -> None:
    query = (
        "subscription ($v: Boolean!) "
        '{ marketData(symbols: ["AAPL"]) { symbol volume @include(if: $v) } }'
    )
    for operation, with_volume in (("1", True), ("2", False)):
        payload = {"query": query, "variables": {"v": with_volume}}
        world.send(type="subscribe", id=operation, payload=payload)
    world.publish(AAPL=1.0)
    states = {m["id"]: m["payload"]["data"]["marketData"] for m in world.client.taken()}
    assert states == {"1": {"symbol": "AAPL", "volume": "0"}, "2": {"symbol": "AAPL"}}


@pytest.mark.parametrize("steps", range(6))
async def test_a_client_that_leaves_during_its_query_leaves_no_resolver_behind(
    world: World, steps: int
) -> None:
    fields = '{ a: marketData(symbol: "A") { close } symbols { symbols } }'
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        world.send(type="subscribe", id="1", payload={"query": fields})
        for _ in range(steps):
            await asyncio.sleep(0)
        world.handler.on_close(1000, "")
        for _ in range(20):
            await asyncio.sleep(0)
        gc.collect()
    assert [str(each.message) for each in caught] == []
