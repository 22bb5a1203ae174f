"""The rules of one stream: messages both ways, whatever connection carries them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import orjson

from marketdata.client.errors import (
    AggregatorUnavailable,
    ClientError,
    GatewayError,
    HistoryTooLong,
    RateLimited,
    UnexpectedAnswer,
)
from marketdata.client.live.events import Event, IntervalComplete, Live, Stale, StaleReason
from marketdata.client.live.wanted import Wanted
from marketdata.client.problems import stream_error

Events = list[Event[Any]]

FIRST_BACKOFF_S = 0.5
# Longer, and a person starts the program again; shorter, and many clients keep a server busy that
# starts.
MAX_BACKOFF_S = 10.0
# How often to look whether something was heard. After one silent look the gateway is asked for an
# answer, after so many the connection counts as dead.
LOOK_EVERY_S = 2.0
DEAD_AFTER_LOOKS = 3

# The code of a connection that ended without one.
LOST = 1006
# The client's own mistakes: the same would happen again.
_HOPELESS = frozenset({1002, 1003, 1007, 1009, 4400})
_RESTART = 1012
_CLOSE_TEXTS = {
    1000: "the server ended the connection",
    1001: "the server stops",
    LOST: "the connection was lost",
    1011: "the server had a problem",
    _RESTART: "the server restarts",
}


class StreamSession:
    """Follow what is wanted over one connection after the other.

    :attr:`failure` is the error that ended the stream for ever, :attr:`stale` why the last states
    may be old now, :attr:`delay_s` how long to wait before the next connection.

    Args:
        url: of the stream, for errors.
        wanted: what to follow.
        random: the jitter between attempts.
    """

    def __init__(self, url: str, wanted: Wanted, random: Random) -> None:
        self._url = url
        self._wanted = wanted
        self._random = random
        self.failure: ClientError | None = None
        self.stale: StaleReason | None = "connection"
        self.delay_s = 0.0
        self._attempts = 0
        self._next_id = 1
        # The subscriptions of this connection.
        self._ids: set[str] = set()
        # When the first connection asked, by the clock of the gateway.
        self._began_ns: int | None = None
        # What the gateway said last, before it ended the connection; whether a request was wrong.
        self._error: GatewayError | None = None
        self._is_of_request = False
        # When a gateway that stops wants its clients back; it spreads them.
        self._return_after_s: float | None = None
        self._silent_looks = 0
        # Which subscriptions have every bar up to an end.
        self._complete: dict[int, set[str]] = {}

    def open_connection(self) -> list[str]:
        """Return the first messages of a new connection."""
        self._attempts = 0
        self._silent_looks = 0
        # First, so that its answer waits for nothing.
        messages: list[dict[str, Any]] = [{"type": "ping"}]
        for request in self._wanted.requests(self._began_ns):
            subscription_id = str(self._next_id)
            self._next_id += 1
            self._ids.add(subscription_id)
            messages.append({"type": "subscribe", "id": subscription_id, **request})
        return [orjson.dumps(message).decode() for message in messages]

    def receive(self, text: str | bytes) -> Events:
        """Return the events of a message; one of a later version is ignored."""
        self._silent_looks = 0
        try:
            message = orjson.loads(text)
            return self._dispatch(message) if isinstance(message, dict) else []
        except (KeyError, TypeError, ValueError, ArithmeticError) as exc:
            # A number that is read wrongly would be worse.
            shown = text[:80]
            self.failure = UnexpectedAnswer(self._url, 101, f"a message cannot be read: {shown!r}")
            self.failure.__cause__ = exc
            return []

    def look(self) -> str | None:
        """Return what to send, every :data:`LOOK_EVERY_S`, so that a dead connection is noticed."""
        self._silent_looks += 1
        return orjson.dumps({"type": "ping"}).decode() if self._silent_looks > 1 else None

    def rest(self) -> None:
        """Count no silence: nothing is read now."""
        self._silent_looks = 0

    @property
    def is_dead(self) -> bool:
        """Whether nothing was heard for so long that the connection counts as lost."""
        return self._silent_looks > DEAD_AFTER_LOOKS

    def close_connection(
        self, problem: str = "", code: int = LOST, retry_after_s: float | None = None
    ) -> Events:
        """Note that there is no connection any more; return the events of that."""
        error, self._error = self._error, None
        wanted_back_s, self._return_after_s = self._return_after_s, None
        self._ids.clear()
        self._complete.clear()
        if isinstance(error, HistoryTooLong) and self._wanted.can_go_on():
            # It goes on where this part of the history ends; nothing was live yet.
            self.delay_s = 0.0
            return []
        if error is not None and self._is_final(error, code):
            self.failure = error
            return []
        known = retry_after_s if wanted_back_s is None else wanted_back_s
        self.delay_s = self._backoff_s() if known is None else known
        self._attempts += 1
        if code == _RESTART:
            problem = ""
        text = problem or (str(error) if error else _CLOSE_TEXTS.get(code, f"close code {code}"))
        return self._become("connection", text)

    def _is_final(self, error: GatewayError, code: int) -> bool:
        if error.type == "slow_consumer" or isinstance(error, AggregatorUnavailable | RateLimited):
            return False
        return code in _HOPELESS or self._is_of_request

    def _backoff_s(self) -> float:
        # Half of it is chance, so that not all clients of a server that restarts come together.
        ceiling = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(self._attempts, 10))
        return ceiling * self._random.uniform(0.5, 1.0)

    def _dispatch(self, message: Mapping[str, Any]) -> Events:
        match message.get("type"):
            case "update" if message["id"] in self._ids:
                update = self._wanted.receive(message)
                return [] if update is None else [update]
            case "status":
                return self._take_status(message)
            case "interval_complete" if message["id"] in self._ids:
                return self._take_marker(message["id"], message["interval"], int(message["endNs"]))
            case "pong" if self._began_ns is None:
                self._began_ns = int(message["receivedNs"])
            case "error":
                self._error = stream_error(str(message["code"]), str(message["message"]))
                self._is_of_request = message["id"] is not None
        return []

    def _take_status(self, message: Mapping[str, Any]) -> Events:
        match message["status"]:
            case "live":
                return self._become(None)
            case "stale":
                return self._become("feed", "the gateway has lost its source")
            case "server-shutdown":
                self._return_after_s = message["reconnectAfterMs"] / 1_000
        return []

    # All subscriptions of the connection must have the bars.
    def _take_marker(self, subscription_id: str, interval: str, end_ns: int) -> Events:
        having = self._complete.setdefault(end_ns, set())
        having.add(subscription_id)
        if len(having) < len(self._ids):
            return []
        for older in [each for each in self._complete if each <= end_ns]:
            del self._complete[older]
        return [IntervalComplete(interval, end_ns)]

    def _become(self, stale: StaleReason | None, problem: str = "") -> Events:
        before, self.stale = self.stale, stale
        if stale == before:
            return []
        return [Live() if stale is None else Stale(stale, problem)]
