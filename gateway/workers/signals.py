"""Write signaling messages for other workers, and read theirs.

On the wire each is a big-endian length, a number and so many bytes of JSON. The numbers of one link
go 1, 2, 3 ...; one that is left out says that a message was. Without bytes, the number is that of
the newest message that was left out, or 0: the worker has said goodbye to its last client.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import orjson

from gateway.stomp.destinations import SIGNALING
from gateway.stomp.messages import Message

_HEAD = struct.Struct(">IQ")
FAREWELL = _HEAD.pack(0, 0)
_OURS = frozenset({"destination", "content-type"})


@dataclass(frozen=True, slots=True)
class Missed:
    """So many messages were left out, because this worker did not take them."""

    count: int


class Farewell:
    """The worker at the other end has no clients left, and stops."""


def encode_signal(message: Message) -> bytes:
    """Return ``message`` as other workers read it."""
    headers = {name: text for name, text in message.headers.items() if name not in _OURS}
    return orjson.dumps([message.content_type, headers, message.body.decode()])


def encode_frame(number: int, signal: bytes = b"") -> bytes:
    """Return one message of a link; without ``signal``, that it was left out."""
    return _HEAD.pack(len(signal), number) + signal


class SignalDecoder:
    """Read what comes over one link."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._number = 0

    def feed(self, data: bytes) -> list[Message | Missed | Farewell]:
        """Return what ``data`` completes, in order."""
        buffer = self._buffer
        buffer += data
        events: list[Message | Missed | Farewell] = []
        start = 0
        while len(buffer) - start >= _HEAD.size:
            size, number = _HEAD.unpack_from(buffer, start)
            end = start + _HEAD.size + size
            if end > len(buffer):
                break
            if number == 0:
                events.append(Farewell())
            else:
                # A word that one was left out counts itself.
                missed = number - self._number - (1 if size else 0)
                self._number = number
                if missed > 0:
                    events.append(Missed(missed))
                if size:
                    events.append(_decode(bytes(buffer[start + _HEAD.size : end])))
            start = end
        del buffer[:start]
        return events


def _decode(data: bytes) -> Message:
    content_type, headers, body = orjson.loads(data)
    return Message(SIGNALING, body.encode(), content_type=content_type, user_headers=headers)
