"""What a stream follows, and how far that has come. It outlives connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, get_args

from marketdata.client.decode import decode_aggregate, decode_bar
from marketdata.client.errors import InvalidArgument
from marketdata.client.live.events import Gap, Policy, Update
from marketdata.client.live.seen_bars import SeenBars
from marketdata.client.live.sequences import Place, Sequences
from marketdata.client.rows import Aggregate, Bar
from marketdata.client.times import Time, format_time
from marketdata.symbols import BLANKS

ALL = "*"
# GATEWAY_MAX_SYMBOLS_PER_REQUEST, and half of GATEWAY_MAX_SUBSCRIPTIONS.
MAX_SYMBOLS = 500
MAX_SUBSCRIPTIONS = 500

Request = Mapping[str, Any]


class Wanted(Protocol):
    """What one stream follows."""

    def requests(self, began_ns: int | None) -> list[Request]:
        """Return what to ask a new connection for; ``began_ns``: when the first one asked."""

    def receive(self, message: Mapping[str, Any]) -> Update[Any] | None:
        """Return the update of a message, unless it was seen."""

    def can_go_on(self) -> bool:
        """Return whether another connection gets further, if this one had too much history."""


class WantedStates:
    """The states of symbols."""

    def __init__(self, symbols: Sequence[str], policy: Policy) -> None:
        self._symbols = symbols
        self._policy = policy
        self._sequences = Sequences()

    def requests(self, began_ns: int | None) -> list[Request]:
        """Return what to ask a new connection for."""
        asked: list[Request] = []
        for symbols in _chunks(self._symbols, MAX_SYMBOLS):
            resume = self._sequences.resume(None if ALL in symbols else symbols, MAX_SYMBOLS)
            more = {"resume": resume} if resume else {}
            asked.append({"symbols": symbols, "policy": self._policy, **more})
        return asked

    def receive(self, message: Mapping[str, Any]) -> Update[Aggregate] | None:
        """Return the update of a message, unless it was seen."""
        row = message["data"]
        recovered, conflated = message["recovered"], message["conflated"]
        gap = None
        if row["sequence"] is not None:
            place = Place(int(row["epoch"]), int(row["sequence"]))
            is_new, gap = self._sequences.take(
                row["symbol"], place, recovered=recovered, conflated=conflated
            )
            if not is_new:
                return None
        return Update(decode_aggregate(row), conflated, recovered, gap)

    def can_go_on(self) -> bool:
        """Return False: states have no history."""
        return False


class WantedBars:
    """The bars of symbols by name: after a reconnect, history fills the hole."""

    def __init__(
        self, symbols: Sequence[str], policy: Policy, interval: str, since: str | None
    ) -> None:
        self._symbols = symbols
        self._policy = policy
        self._interval = interval
        self._since = since
        self._seen: dict[str, SeenBars] = {}
        self._is_first = True
        # New states since the last connection that had too much history.
        self._progress = 0
        # A gap that was told with a state that had been seen belongs to the next one.
        self._lost: set[str] = set()

    def requests(self, began_ns: int | None) -> list[Request]:
        """Return what to ask a new connection for."""
        size = MAX_SYMBOLS
        if not self._is_first:
            # Each symbol from its own place on, if there are not too many of them.
            size = -(-len(self._symbols) // MAX_SUBSCRIPTIONS)
        self._is_first = False
        asked: list[Request] = []
        for symbols in _chunks(self._symbols, size):
            since = self._since_of(symbols, began_ns)
            more = {"since": since} if since is not None else {}
            policy, interval = self._policy, self._interval
            asked.append({"symbols": symbols, "policy": policy, "interval": interval, **more})
        return asked

    def receive(self, message: Mapping[str, Any]) -> Update[Bar] | None:
        """Return the update of a message, unless it was seen."""
        bar = decode_bar(message["data"])
        seen = self._seen.get(bar.symbol)
        if seen is None:
            seen = self._seen[bar.symbol] = SeenBars()
        recovered = message["recovered"]
        if recovered is False:
            self._lost.add(bar.symbol)
        if not seen.take(bar):
            return None
        self._progress += 1
        gap = None
        if bar.symbol in self._lost:
            self._lost.remove(bar.symbol)
            gap = Gap(bar.symbol, None)
        return Update(bar, message["conflated"], recovered, gap)

    def can_go_on(self) -> bool:
        """Return whether there was new history, or too much of several symbols together."""
        progress, self._progress = self._progress, 0
        return progress > 0

    def _since_of(self, symbols: Sequence[str], began_ns: int | None) -> str | None:
        starts = []
        for symbol in symbols:
            seen = self._seen.get(symbol)
            start = None if seen is None else seen.resume_ns()
            if start is None:
                # A symbol that has shown nothing yet needs all of its history.
                if self._since is not None or began_ns is None:
                    return self._since
                start = began_ns
            starts.append(start)
        return str(min(starts))


class WantedBarsOfAll:
    """The bars of all symbols: the gateway has no history of all of them at once."""

    def __init__(self, policy: Policy, interval: str) -> None:
        self._policy = policy
        self._interval = interval
        self._sequences = Sequences()

    def requests(self, began_ns: int | None) -> list[Request]:
        """Return what to ask a new connection for."""
        resume = self._sequences.resume(None, MAX_SYMBOLS)
        if not resume:
            self._sequences.begin_anew()
        more = {"resume": resume} if resume else {}
        return [{"symbols": [ALL], "policy": self._policy, "interval": self._interval, **more}]

    def receive(self, message: Mapping[str, Any]) -> Update[Bar] | None:
        """Return the update of a message, unless it was seen."""
        bar = decode_bar(message["data"])
        place = Place(bar.epoch, bar.sequence)
        recovered = message["recovered"]
        # The states of several open bars overtake each other while they conflate.
        is_new, gap = self._sequences.take(bar.symbol, place, recovered=recovered, conflated=None)
        return Update(bar, message["conflated"], recovered, gap) if is_new else None

    def can_go_on(self) -> bool:
        """Return False: there is no history."""
        return False


def build_wanted(
    symbols: Sequence[str] | str, policy: Policy, interval: str | None, since: Time | None
) -> Wanted:
    """Return what a stream is asked to follow.

    Raises:
        InvalidArgument: an argument cannot be sent.
    """
    listed = [symbols] if isinstance(symbols, str) else symbols
    named = list(dict.fromkeys(symbol.strip(BLANKS) for symbol in listed))
    if not named:
        raise InvalidArgument("symbols", "names no symbol")
    if policy not in get_args(Policy):
        raise InvalidArgument("policy", f"must be conflate or buffer, is {policy!r:.40}")
    if interval is None:
        if since is not None:
            raise InvalidArgument("since", "is for bars, which need an interval")
        return WantedStates(named, policy)
    if ALL in named:
        if since is not None:
            raise InvalidArgument("since", "needs symbols by name, not *")
        return WantedBarsOfAll(policy, interval)
    begin = None if since is None else format_time("since", since)
    return WantedBars(named, policy, interval, begin)


def _chunks(symbols: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    if ALL in symbols:
        yield [ALL]
        return
    for first in range(0, len(symbols), size):
        yield symbols[first : first + size]
