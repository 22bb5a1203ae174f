"""The inputs that change the state, and their bytes in a tick log.

The time of an input is the time of its record.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, NamedTuple

from aggregator.market import Limits
from aggregator.ticklog.log import Kind
from marketdata.errors import MarketDataError

# The number of a stream.
_STREAM = struct.Struct(">q")
# The same after a message, as its field 15: readers that do not know it read the message.
_STREAM_FIELD = struct.Struct("<Bq")
_STREAM_TAG = 15 << 3 | 1
_COUNT = struct.Struct(">I")


class InvalidInput(MarketDataError):
    """The bytes of a record are not those of its kind."""


class Batch(NamedTuple):
    """A serialized ``TickBatch`` of a stream, as it came; it may be malformed."""

    stream: int
    data: bytes

    @property
    def kind(self) -> Kind:
        """What the record holds."""
        return Kind.BATCH

    def payload(self) -> bytes:
        """Return the bytes of the record."""
        return self.data + _STREAM_FIELD.pack(_STREAM_TAG, self.stream)


@dataclass(frozen=True, slots=True)
class FeedOpened:
    """A stream of ticks began."""

    stream: int
    kind: ClassVar[Kind] = Kind.FEED_OPENED

    def payload(self) -> bytes:
        """Return the bytes of the record."""
        return _STREAM.pack(self.stream)


@dataclass(frozen=True, slots=True)
class FeedClosed:
    """A stream of ticks ended."""

    stream: int
    kind: ClassVar[Kind] = Kind.FEED_CLOSED

    def payload(self) -> bytes:
        """Return the bytes of the record."""
        return _STREAM.pack(self.stream)


@dataclass(frozen=True, slots=True)
class Clock:
    """Close what ends by the wall clock, of at most so many symbols."""

    max_symbols: int
    kind: ClassVar[Kind] = Kind.CLOCK

    def payload(self) -> bytes:
        """Return the bytes of the record."""
        return _COUNT.pack(self.max_symbols)


@dataclass(frozen=True, slots=True)
class Watch:
    """A serialized ``WatchRequest`` of a Watch stream."""

    stream: int
    data: bytes
    kind: ClassVar[Kind] = Kind.WATCH

    def payload(self) -> bytes:
        """Return the bytes of the record."""
        return self.data + _STREAM_FIELD.pack(_STREAM_TAG, self.stream)


@dataclass(frozen=True, slots=True)
class WatchEnded:
    """A Watch stream ended."""

    stream: int
    kind: ClassVar[Kind] = Kind.WATCH_ENDED

    def payload(self) -> bytes:
        """Return the bytes of the record."""
        return _STREAM.pack(self.stream)


@dataclass(frozen=True, slots=True)
class Start:
    """A process began to serve this state; the streams of the process before are gone.

    A *history* is a run of records that follow from each other. It begins at a record before which
    the state was empty, or came from elsewhere.
    """

    epoch: int
    # Names the settings and the release that decide what the records make.
    fingerprint: str
    # The offset of the first record of the history, and whether the state was empty there.
    began_at: int
    began_empty: bool
    # The largest values, and how many symbols and producers there may be.
    limits: Limits = field(default_factory=Limits)
    # The release, for people.
    version: str = ""
    kind: ClassVar[Kind] = Kind.START

    def payload(self) -> bytes:
        """Return the bytes of the record."""
        return json.dumps(asdict(self)).encode()


Input = Batch | FeedOpened | FeedClosed | Clock | Watch | WatchEnded | Start


def parse_input(kind: Kind, payload: bytes) -> Input:
    """Return the input of a record.

    Raises:
        InvalidInput: the bytes are not those of such a record.
    """
    try:
        return _parse(kind, payload)
    except (struct.error, ValueError, TypeError, KeyError) as exc:
        raise InvalidInput(f"a {kind.name} record of {len(payload)} bytes is malformed") from exc


def _parse(kind: Kind, payload: bytes) -> Input:
    if kind is Kind.START:
        return parse_start(payload)
    if kind is Kind.CLOCK:
        return Clock(*_COUNT.unpack(payload))
    if kind in _WITH_DATA:
        tag, stream = _STREAM_FIELD.unpack(payload[-_STREAM_FIELD.size :])
        if tag != _STREAM_TAG:
            raise ValueError("it has no stream")
        return _WITH_DATA[kind](stream, payload[: -_STREAM_FIELD.size])
    return _OF_STREAMS[kind](*_STREAM.unpack(payload))


_WITH_DATA: dict[Kind, type[Batch | Watch]] = {Kind.BATCH: Batch, Kind.WATCH: Watch}
_OF_STREAMS: dict[Kind, type[FeedOpened | FeedClosed | WatchEnded]] = {
    Kind.FEED_OPENED: FeedOpened,
    Kind.FEED_CLOSED: FeedClosed,
    Kind.WATCH_ENDED: WatchEnded,
}


def parse_start(payload: bytes) -> Start:
    """Return the start that a record has."""
    return read_start(json.loads(payload))


def read_start(values: dict[str, Any]) -> Start:
    """Return a start from plain values, as :func:`dataclasses.asdict` returns them."""
    return Start(**{**values, "limits": Limits(**values["limits"])})
