"""A STOMP client that checks each state against the one before, and comes back after cuts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from tests.doubles.stomp import Frame, StompClient, open_stomp

TIMEOUT_S = 60

State = dict[str, Any]
TOPIC = "/topic/market-data/"


class Follower:
    """Follow some symbols with ``policy: buffer`` over as many connections as it takes.

    A state that does not continue where the one before was fails the test.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = list(symbols)
        # The newest state of each symbol.
        self.states: dict[str, State] = {}
        # All of them, so that two followers can be compared.
        self.seen: dict[tuple[str, str, str], State] = {}
        self.statuses: list[str] = []
        # Snapshots of a new epoch, by symbol; connections that continued where the last was cut.
        self.snapshots: list[str] = []
        self.recovered = 0
        # States that came later, because the client was away.
        self.missed = 0
        # Trades in the states that came.
        self.trades = 0
        # Symbols whose next state has to say whether it continues.
        self._resuming: set[str] = set()
        # Symbols whose missed states are coming.
        self._recovering: set[str] = set()
        self._changed = asyncio.Event()

    def position(self, symbol: str) -> tuple[int, int]:
        """Return epoch and sequence of the newest state."""
        state = self.states.get(symbol)
        return (int(state["epoch"]), int(state["sequence"])) if state else (0, 0)

    @property
    def epochs(self) -> set[str]:
        """The epochs of the newest states."""
        return {state["epoch"] for state in self.states.values()}

    def is_ahead_of(self, other: Follower) -> bool:
        """Say whether ``other`` has missed a state."""
        return any(self.position(symbol) > other.position(symbol) for symbol in self.symbols)

    @contextlib.asynccontextmanager
    async def connected(self, address: str) -> AsyncIterator[StompClient]:
        """Connect for the time of the context, from the last MESSAGE on if there was one."""
        headers: dict[str, str] = {}
        if self.states:
            (headers["epoch"],) = self.epochs
            last = {symbol: state["sequence"] for symbol, state in self.states.items()}
            headers["last_sequence"] = ",".join(f"{name}:{last[name]}" for name in last)
        self._resuming = set(self.states)
        self._recovering.clear()
        async with open_stomp(address) as client:
            await client.subscribe(TOPIC + ",".join(self.symbols), policy="buffer", **headers)
            yield client

    async def read(self, client: StompClient, until: Callable[[], bool]) -> None:
        """Take at least one state, then more until ``until`` holds."""
        number = len(self.seen)
        while len(self.seen) == number or not until():
            self.take(await client.next())

    async def read_on(self, client: StompClient) -> None:
        """Take whatever comes, until cancelled."""
        await self.read(client, lambda: False)

    async def wait_until(self, predicate: Callable[[], bool]) -> None:
        """Wait until ``predicate`` holds, while :meth:`read_on` runs."""
        async with asyncio.timeout(TIMEOUT_S):
            while not predicate():
                self._changed.clear()
                await self._changed.wait()

    def take(self, frame: Frame) -> None:
        """Check one frame and remember its state."""
        assert frame.command == "MESSAGE", frame
        if frame["destination"] == "/topic/status":
            self.statuses.append(frame.json["status"])
            return
        state: State = frame.json
        symbol: str = state["symbol"]
        assert frame["destination"] == TOPIC + symbol
        assert (frame["sequence"], frame["epoch"]) == (state["sequence"], state["epoch"])
        assert "conflated" not in frame.headers
        self._check_position(state, frame.headers.get("recovered"))
        self.states[symbol] = state
        self.seen[symbol, state["epoch"], state["sequence"]] = state
        self._changed.set()

    def _check_position(self, state: State, recovered: str | None) -> None:
        symbol: str = state["symbol"]
        before = self.states.get(symbol)
        resumed = symbol in self._resuming
        self._resuming.discard(symbol)
        was = "nothing" if before is None else before["sequence"]
        seen = f"{symbol} {state['sequence']} recovered {recovered} after {was}"
        if before is None:
            assert recovered is None, seen
            self.trades += int(state["trades"])
        elif state["epoch"] == before["epoch"]:
            assert int(state["sequence"]) == int(before["sequence"]) + 1, seen
            self.missed += recovered is not None
            if resumed:
                assert recovered == "true", seen
                self._recovering.add(symbol)
            elif symbol not in self._recovering:
                assert recovered is None, seen
            elif recovered is None:
                # What follows now was not missed.
                self._recovering.discard(symbol)
            # The first state after a SUBSCRIBE is that of one of the symbols it names.
            self.recovered += resumed and len(self._resuming) == len(self.symbols) - 1
            self.trades += int(state["trades"]) - int(before["trades"])
        else:
            assert int(state["epoch"]) > int(before["epoch"]), seen
            assert recovered == "false", seen
            self.snapshots.append(symbol)
            self.trades += int(state["trades"])
