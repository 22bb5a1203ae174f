"""Follow the live states of symbols, and complain about every hole and repeat."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
from websockets.asyncio.client import ClientConnection, connect


class Follower:
    """A client that wants every state, in a buffer, over one connection.

    :attr:`faults` says what was missing, repeated or marked as not recovered.
    """

    def __init__(self, symbols: list[str]) -> None:
        self._symbols = symbols
        self._last: dict[str, int] = {}
        self._last_of_bars: dict[str, int] = {}
        self._epochs: set[str] = set()
        self._changed = asyncio.Condition()
        #: Closed states of bars: symbol, start, revision.
        self.closed: list[tuple[str, str, int]] = []
        self.faults: list[str] = []

    async def wait_for(self, sequences: dict[str, int]) -> None:
        """Wait until each symbol's state has this sequence."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: all(self._last.get(name, 0) >= at for name, at in sequences.items())
            )

    async def wait_for_first(self) -> None:
        """Wait until there is a state and a bar of each symbol."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: len(self._last) == len(self._last_of_bars) == len(self._symbols)
            )

    async def follow(self, websocket: ClientConnection) -> None:
        """Read until the connection ends."""
        for number, interval in (("states", None), ("bars", "1m")):
            request = {
                "type": "subscribe",
                "id": number,
                "symbols": self._symbols,
                "policy": "buffer",
            }
            if interval is not None:
                request["interval"] = interval
            await websocket.send(orjson.dumps(request).decode())
        async for data in websocket:
            message = orjson.loads(data)
            if message["type"] == "update":
                self.take(message)
            elif message["type"] == "error":
                self.faults.append(f"error: {message}")
            async with self._changed:
                self._changed.notify_all()

    def take(self, message: dict[str, object]) -> None:
        """Note a state."""
        data = message["data"]
        assert isinstance(data, dict)
        if message["recovered"] is False:
            self.faults.append(f"not recovered: {data['symbol']} {message['id']}")
        self._epochs.add(str(message["epoch"]))
        if len(self._epochs) > 1:
            self.faults.append(f"epochs {self._epochs}")
        symbol, sequence = str(data["symbol"]), int(str(message["sequence"]))
        if message["id"] == "states":
            expected = self._last.get(symbol, 0) + 1
            if sequence != expected:
                self.faults.append(f"{symbol}: state {sequence} instead of {expected}")
            self._last[symbol] = sequence
            return
        # States of an open bar may be left out where the aggregator had a newer one to send.
        if sequence <= self._last_of_bars.get(symbol, 0):
            self.faults.append(f"{symbol}: bar state {sequence} again")
        self._last_of_bars[symbol] = sequence
        if data["state"] in ("final", "revised"):
            self.closed.append((data["symbol"], data["start"], data["revision"]))


@contextlib.asynccontextmanager
async def open_follower(port: int, symbols: list[str]) -> AsyncIterator[Follower]:
    """Follow symbols at a gateway for the time of the context."""
    follower = Follower(symbols)
    address = f"ws://127.0.0.1:{port}/api/v1/stream"
    async with connect(address, proxy=None, max_queue=None) as websocket:
        reading = asyncio.create_task(follower.follow(websocket))
        try:
            yield follower
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
