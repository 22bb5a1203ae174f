"""A feed without an aggregator, and a client without a socket."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from gateway.clients.connection import ANY_BATCH, Connection, Peer
from gateway.clients.farewell import Returns
from gateway.clients.outbox import BufferFull
from gateway.clients.shared import SharedMessages
from gateway.hub.history import History
from gateway.hub.hub import Hub
from gateway.hub.subscription import BufferLimits
from gateway.hub.updates import FeedStatus
from gateway.live.session import LiveLimits, Sessions
from gateway.stream.client import StreamClient
from marketdata.wire.market_data_pb2 import Aggregate

EPOCH = 7


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class NoHistory:
    """Nothing is read."""

    def begin(self, *_: object) -> None:
        return


class Feed:
    """A hub that is live, and an aggregator that counts sequences."""

    def __init__(self, *, max_followed: int = 100, **limits: Any) -> None:
        self.clock = Clock()
        history = History(1000, max_age_s=60)
        self.hub = Hub(history, linger_s=60, max_symbols=max_followed, clock=self.clock)
        self.hub.set_status(FeedStatus.LIVE)
        given = {
            "max_subscriptions": 3,
            "max_symbols": 30,
            "message_rate": 100,
            "message_burst": 100,
            "buffer": BufferLimits(max_bytes=3 * 1024),
            **limits,
        }
        # What the gateway's calendar says, one time after the other.
        self.times: Iterator[int] = itertools.count()
        self.sessions = Sessions(
            self.hub,
            NoHistory(),
            LiveLimits(**given),
            self.clock,
            time_ns=lambda: next(self.times),
            returns=Returns(uniform=Random(12).uniform),
        )
        self.epoch = EPOCH
        self.sequences: dict[str, int] = {}

    def publish(self, *symbols: str) -> None:
        aggregates = []
        for symbol in symbols:
            self.sequences[symbol] = sequence = self.sequences.get(symbol, 0) + 1
            aggregates.append(
                Aggregate(
                    symbol=symbol, sequence=sequence, epoch=self.epoch, volume=2**60
                ).SerializeToString()
            )
        self.hub.publish(aggregates)

    def restart(self) -> None:
        self.epoch += 1
        self.sequences.clear()
        self.hub.begin_epoch(self.epoch)


class Client:
    """A connection that takes ``room`` messages, and what it was sent."""

    def __init__(self, reader: StreamClient, *, room: int = 1_000_000) -> None:
        self.peer = Peer("test")
        self.max_batch = ANY_BATCH
        self.room = room
        # More than this is too much even for what is said in any case.
        self.hard_limit = 1_000_000
        self.sent: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self.reader = reader
        connection: Connection = self
        reader.on_open(connection)

    @property
    def buffered_bytes(self) -> int:
        return 0

    @property
    def writable(self) -> bool:
        return self.room > 0

    def send_nowait(self, message: str | bytes) -> None:
        if self.closed is None:
            if self.hard_limit <= 0:
                raise BufferFull(len(message), 0, 0)
            self.room -= 1
            self.hard_limit -= 1
            self.sent.append(message)

    def send_text(self, message: bytes) -> None:
        self.send_nowait(message)

    def send_shared(self, messages: SharedMessages) -> None:
        for message in messages.messages:
            self.send_text(message)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self.closed is None:
            self.closed = code, reason

    def suppress_heartbeats(self) -> None:
        raise AssertionError("streams have no heart-beats of their own")

    def say(self, **message: Any) -> None:
        self.reader.on_message(json.dumps(message))

    def drain(self) -> None:
        self.room = 1_000_000
        self.reader.on_drained()

    def leave(self) -> None:
        self.reader.on_close(1001, "")

    def take(self) -> list[dict[str, Any]]:
        """Return the JSON messages that were sent since the last call."""
        messages = [json.loads(message) for message in self.sent]
        self.sent.clear()
        return messages
