"""Text messages that go to many clients, encoded once for each way to carry them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

# RFC 6455, 5.2: FIN and the opcode, then the length; what a server sends has no mask.
TEXT_FRAME, BINARY_FRAME = 0x81, 0x82
_LENGTH_16 = struct.Struct("!BBH")
_LENGTH_64 = struct.Struct("!BBQ")


class SharedMessages:
    """Text messages in UTF-8, the same for every client that is sent them."""

    __slots__ = ("_forms", "_frames", "messages")

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages
        self._frames: bytes | None = None
        self._forms: dict[Callable[[Iterable[bytes]], Any], Any] | None = None

    @property
    def frames(self) -> bytes:
        """The WebSocket frames of the messages, one each, encoded once for all."""
        frames = self._frames
        if frames is None:
            messages = self.messages
            if len(messages) == 1:
                (message,) = messages
                size = len(message)
                # Most messages; a call would cost as much as all of it.
                if 126 <= size < 65536:
                    frames = _LENGTH_16.pack(TEXT_FRAME, 126, size) + message
                else:
                    frames = frame_head(TEXT_FRAME, size) + message
            else:
                frames = encode_text_frames(messages)
            self._frames = frames
        return frames

    def form(self, encode: Callable[[Iterable[bytes]], T]) -> T:
        """Return ``encode(messages)``, computed once for all."""
        if self._forms is None:
            self._forms = {}
        form = self._forms.get(encode)
        if form is None:
            form = self._forms[encode] = encode(self.messages)
        result: T = form
        return result


def frame_head(opcode: int, size: int) -> bytes:
    """Return the header of one whole WebSocket message of a server, of ``size`` bytes."""
    if size < 126:
        return bytes((opcode, size))
    if size < 65536:
        return _LENGTH_16.pack(opcode, 126, size)
    return _LENGTH_64.pack(opcode, 127, size)


def encode_text_frames(messages: Iterable[bytes]) -> bytes:
    """Return the WebSocket frames of ``messages``, one each."""
    parts: list[bytes] = []
    for message in messages:
        parts.append(frame_head(TEXT_FRAME, len(message)))
        parts.append(message)
    return b"".join(parts)
