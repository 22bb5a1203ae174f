"""A client of bars for each live endpoint, and one who checks what they get."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from gateway.rest.schemas import BarBody
from tests.doubles.endpoints import open_http
from tests.doubles.stomp import open_stomp

TIMEOUT_S = 60
# From the start of one minute to that of the next if there is a revise window between their trades.
QUIET_NS = 900 * 10**9
STATES = ("partial", "early", "final", "revised")
GRAPHQL_BARS = f"""subscription ($symbols: [String!]!, $interval: String!, $since: String) {{
    bars(symbols: $symbols, interval: $interval, since: $since) {{
        {" ".join(BarBody.model_fields)}
    }} }}"""

JsonBar = dict[str, Any]


class Event(NamedTuple):
    """A state of a bar, or None and the end of an interval, in ns, that is complete."""

    bar: JsonBar | None
    end_ns: int = 0
    epoch: str = ""
    recovered: bool | None = None


# Takes the address of the gateway, the symbols, the interval and since when. Yields None when it
# has subscribed.
Endpoint = Callable[[str, Sequence[str], str, str], AsyncGenerator[Event | None, None]]


async def stomp(
    address: str, symbols: Sequence[str], interval: str, since: str
) -> AsyncGenerator[Event | None, None]:
    async with open_stomp(address) as client:
        topic = f"/topic/bars/{interval}/{','.join(symbols)}"
        await client.subscribe(topic, since=since)
        yield None
        while True:
            frame = await client.next()
            assert frame.command == "MESSAGE", frame
            if (event := stomp_event(interval, frame.headers, frame.json)) is not None:
                yield event


def stomp_event(interval: str, headers: Mapping[str, str], body: Any) -> Event | None:
    """Return what a MESSAGE says of the bars of an interval."""
    if headers["destination"] == "/topic/status":
        return None
    if headers.get("type") == "interval_complete":
        assert body["interval"] == interval
        return Event(None, int(body["endNs"]), body["epoch"])
    recovered = headers.get("recovered")
    return Event(body, recovered=recovered == "true" if recovered else None)


async def stream_websocket(
    address: str, symbols: Sequence[str], interval: str, since: str
) -> AsyncGenerator[Event | None, None]:
    query = f"symbols={','.join(symbols)}&interval={interval}&since={since}"
    async with connect(f"ws://{address}/api/v1/stream?{query}", proxy=None) as client:
        async for text in client:
            message = orjson.loads(text)
            if message["type"] == "subscribed":
                yield None
            elif (event := _event(message)) is not None:
                yield event


async def sse(
    address: str, symbols: Sequence[str], interval: str, since: str
) -> AsyncGenerator[Event | None, None]:
    query = {"symbols": ",".join(symbols), "interval": interval, "since": since}
    async with (
        open_http(address) as http,
        aconnect_sse(http, "GET", "/api/v1/stream", params=query) as source,
    ):
        yield None
        async for each in source.aiter_sse():
            # One that only says where the client is has no data.
            if not each.data:
                continue
            if (event := _event({**each.json(), "type": each.event})) is not None:
                yield event


def _event(message: dict[str, Any]) -> Event | None:
    if message["type"] == "update":
        return Event(message["data"], recovered=message.get("recovered"))
    if message["type"] == "interval_complete":
        return Event(None, int(message["endNs"]), message["epoch"])
    assert message["type"] == "status", message
    return None


async def graphql(
    address: str, symbols: Sequence[str], interval: str, since: str
) -> AsyncGenerator[Event | None, None]:
    variables = {"symbols": symbols, "interval": interval, "since": since}
    payload = {"query": GRAPHQL_BARS, "variables": variables}
    protocols = [Subprotocol("graphql-transport-ws")]
    async with connect(f"ws://{address}/graphql", subprotocols=protocols, proxy=None) as client:
        await client.send('{"type":"connection_init"}')
        assert orjson.loads(await client.recv()) == {"type": "connection_ack"}
        subscribe = {"type": "subscribe", "id": "1", "payload": payload}
        await client.send(orjson.dumps(subscribe).decode())
        yield None
        events = GraphQLEvents()
        async for text in client:
            message = orjson.loads(text)
            assert message["type"] == "next", message
            if (event := events.take(message["payload"])) is not None:
                yield event


class GraphQLEvents:
    """What the results of one subscription say of bars."""

    def __init__(self) -> None:
        self._status = "live"

    def take(self, result: Any) -> Event | None:
        """Return what comes with one result."""
        bar, extensions = result["data"]["bars"], result["extensions"]
        before, self._status = self._status, extensions["dataStatus"]
        if self._status != before:
            # Then the last bar comes again.
            return None
        if bar is not None:
            return Event(bar, recovered=extensions.get("recovered"))
        if "intervalComplete" in extensions:
            marker = extensions["intervalComplete"]
            return Event(None, int(marker["endNs"]), marker["epoch"])
        return None


ENDPOINTS: list[Endpoint] = [stomp, stream_websocket, sse, graphql]


class BarFollower:
    """Follow bars through one endpoint; what must not come fails the test."""

    def __init__(
        self, endpoint: Endpoint, symbols: Sequence[str], interval: str, name: str | None = None
    ) -> None:
        self.name = name or endpoint.__name__
        self._endpoint = endpoint
        self._symbols = symbols
        self._interval = interval
        # The newest state of each bar, by symbol and start.
        self.bars: dict[tuple[str, int], JsonBar] = {}
        # Of one epoch.
        self.ends: list[int] = []
        self._epoch = ""
        # Symbols whose states began a new epoch, in which what was missed is not
        # known.
        self.not_recovered: list[str] = []
        # Of the bars that were open when their end was complete, symbol and start.
        self.quiet: set[tuple[str, int]] = set()
        self.states = 0
        self._seen: set[tuple[str, str, str]] = set()
        self._changed = asyncio.Event()
        self._subscribed = asyncio.Event()

    async def join(self, tasks: asyncio.TaskGroup, address: str, since: str = "0") -> None:
        """Follow from now on, as a task of ``tasks``, until :meth:`leave`."""
        self._task = tasks.create_task(self._follow(address, since))
        async with asyncio.timeout(TIMEOUT_S):
            await self._subscribed.wait()

    def leave(self) -> None:
        """Follow no longer."""
        self._task.cancel()

    async def wait_for(self, bars: Sequence[JsonBar]) -> None:
        """Wait until the newest states are these, wherever they were read."""
        for bar in bars:
            await self._wait_until(partial(self._has, bar), bar)

    async def wait_for_end(self, end_ns: int) -> None:
        """Wait until all bars that end then, or earlier, are complete."""
        await self._wait_until(lambda: bool(self.ends) and self.ends[-1] >= end_ns, end_ns)

    def _has(self, bar: JsonBar) -> bool:
        return _content(self.bars.get(_place(bar), {})) == _content(bar)

    async def _wait_until(self, predicate: Callable[[], bool], what: object) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while not predicate():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} never got {what}") from None

    async def _follow(self, address: str, since: str) -> None:
        async with contextlib.aclosing(
            self._endpoint(address, self._symbols, self._interval, since)
        ) as events:
            async for event in events:
                if event is None:
                    self._subscribed.set()
                elif event.bar is None:
                    self._complete(event.end_ns, event.epoch)
                else:
                    self._take(event.bar, event.recovered)
                self._changed.set()

    def _take(self, bar: JsonBar, recovered: bool | None) -> None:
        self.states += 1
        if recovered is False:
            self.not_recovered.append(bar["symbol"])
        assert bar["interval"] == self._interval
        assert bar["symbol"] in self._symbols
        before = self.bars.get(_place(bar))
        if int(bar["sequence"]):
            state = (bar["symbol"], bar["epoch"], bar["sequence"])
            assert state not in self._seen, ("came twice", bar)
            self._seen.add(state)
        if before is not None and before["epoch"] == bar["epoch"]:
            assert _rank(bar) >= _rank(before), (bar, before)
            assert int(bar["trades"]) >= int(before["trades"]), (bar, before)
            assert int(bar["sequence"]) > int(before["sequence"]), (bar, before)
        self.bars[_place(bar)] = bar

    def _complete(self, end_ns: int, epoch: str) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self.ends.clear()
        assert not self.ends or end_ns > self.ends[-1], (end_ns, self.ends[-1])
        self.ends.append(end_ns)
        latest = dict(sorted(self.bars))
        for place, bar in self.bars.items():
            is_over = int(bar["endNs"]) <= end_ns and bar["epoch"] == epoch
            is_open = is_over and bar["state"] not in {"final", "revised"}
            if is_open:
                # A replay waits for a symbol that went quiet until a revise window has passed.
                assert place[1] == latest[place[0]], (self.name, end_ns, bar)
                self.quiet.add(place)

    def check_quiet(self, bars: Sequence[JsonBar]) -> None:
        """Make sure that no bar was called complete that was open, but for quiet symbols."""
        for symbol, start in self.quiet:
            later = [int(bar["startNs"]) for bar in bars if bar["symbol"] == symbol]
            later = [each for each in later if start < each < start + QUIET_NS]
            assert not later, (self.name, symbol, start, later)


def _place(bar: JsonBar) -> tuple[str, int]:
    return bar["symbol"], int(bar["startNs"])


def _rank(bar: JsonBar) -> tuple[int, int]:
    return bar["revision"], STATES.index(bar["state"])


def _content(bar: JsonBar) -> JsonBar:
    # What is read from the store does not say when it was published.
    return {name: value for name, value in bar.items() if name not in {"sequence", "epoch"}}
