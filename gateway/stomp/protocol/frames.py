"""Write and read STOMP frames: a command, headers, a body, NUL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.stomp.protocol.errors import (
    BodyNotAllowed,
    FrameError,
    FrameSizeExceeded,
    InvalidContentLength,
    InvalidEscape,
    MalformedFrame,
    MissingNul,
    UnencodableHeader,
    UnknownCommand,
)
from gateway.stomp.protocol.versions import Version

CONNECT_COMMANDS = frozenset({"CONNECT", "STOMP"})
CLIENT_COMMANDS = CONNECT_COMMANDS | {
    "SEND",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "BEGIN",
    "COMMIT",
    "ABORT",
    "ACK",
    "NACK",
    "DISCONNECT",
}
SERVER_COMMANDS = frozenset({"CONNECTED", "MESSAGE", "RECEIPT", "ERROR"})
COMMANDS = CLIENT_COMMANDS | SERVER_COMMANDS

# STOMP 1.2, Body: "Only the SEND, MESSAGE, and ERROR frames MAY have a body."
BODY_COMMANDS = frozenset({"SEND", "MESSAGE", "ERROR"})
# STOMP 1.2, Value Encoding: CONNECT and CONNECTED are not escaped, for clients of 1.0. STOMP is
# CONNECT by another name.
UNESCAPED_COMMANDS = CONNECT_COMMANDS | {"CONNECTED"}

# STOMP 1.2, Value Encoding; 1.1 has no \r, 1.0 has no escapes.
_ESCAPES_1_1 = {"\\": "\\\\", "\n": "\\n", ":": "\\c"}
_ESCAPES = {
    Version.V1_0: {},
    Version.V1_1: _ESCAPES_1_1,
    Version.V1_2: {**_ESCAPES_1_1, "\r": "\\r"},
}
_ESCAPE_TABLES = {version: str.maketrans(escapes) for version, escapes in _ESCAPES.items()}
_UNESCAPES = {
    version: {sequence: character for character, sequence in escapes.items()}
    for version, escapes in _ESCAPES.items()
}
_ESCAPE_SEQUENCE = re.compile(r"\\.?", re.DOTALL)
# What ends a line or a frame must not stand in one.
_UNWRITABLE = re.compile(r"[\0\r\n]")
_EOLS = re.compile(rb"(?:\r?\n)+")
# More digits than a frame size can have; int() of thousands of digits is slow or refused.
_CONTENT_LENGTH = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; its headers are unescaped, and of a repeated header only the first is kept."""

    command: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """How much of one frame a decoder accepts."""

    # From the first octet of the command to the NUL. The largest frame we need to read is a
    # signaling message with an SDP of 64 KiB, in which JSON doubles each line end, quote and
    # backslash, with a candidate and headers beside it.
    max_frame_size: int = 128 * 1024
    # STOMP needs at most 7; the rest is for user headers of a SEND.
    max_headers: int = 64
    # Also the longest destination: a comma list of about 1,000 symbols.
    max_header_line: int = 8 * 1024


def encode_header(name: str, value: str, version: Version) -> str:
    """Return one header line without its line end, escaped as ``version`` wants it.

    Raises:
        UnencodableHeader: the header has a character that ``version`` has no way to write.
    """
    table = _ESCAPE_TABLES[version]
    escaped_name = name.translate(table)
    # Readers of STOMP 1.0 trim; another name, or none, would arrive.
    trimmed = version == Version.V1_0 and name != name.strip(" \t")
    line = f"{escaped_name}:{value.translate(table)}"
    if (
        not name
        or trimmed
        or ":" in escaped_name
        or _UNWRITABLE.search(line)
        or not _is_unicode(line)
    ):
        raise UnencodableHeader(name, version)
    return line


def encode_frame(frame: Frame, version: Version) -> bytes:
    """Return ``frame`` as bytes, with a true content-length where it may have a body.

    Raises:
        UnknownCommand: the command is not one of STOMP.
        BodyNotAllowed: the command allows no body, and there is one.
        UnencodableHeader: a header has a character that ``version`` has no way to write.
    """
    command, body = frame.command, frame.body
    if command not in COMMANDS:
        raise UnknownCommand(command)
    if body and command not in BODY_COMMANDS:
        raise BodyNotAllowed(command)
    if command in UNESCAPED_COMMANDS:
        version = Version.V1_0
    lines = [command]
    for name, value in frame.headers.items():
        if name != "content-length":
            lines.append(encode_header(name, value, version))
    if command in BODY_COMMANDS:
        lines.append(f"content-length:{len(body)}")
    head = "\n".join(lines) + "\n\n"
    return head.encode() + body + b"\0"


class FrameDecoder:
    """Cut the bytes of one connection into frames.

    Set :attr:`version` as soon as it is agreed: it decides how the next frame's headers are read.
    After an error the bytes held are let go, and later ones are ignored.
    """

    def __init__(self, limits: FrameLimits | None = None) -> None:
        # A client that has not said its version is read as 1.0, which unescapes nothing.
        self.version = Version.V1_0
        self._limits = limits or FrameLimits()
        self._buffer = bytearray()
        # Where the unread part of the buffer starts, and how far it was searched in vain.
        self._start = 0
        self._searched = 0
        self._failure: FrameError | None = None
        self._begin_frame()

    @property
    def buffered(self) -> int:
        """How many octets are held: of unread data, and of the frame that was begun."""
        return len(self._buffer) - self._start + self._size

    def feed(self, data: bytes) -> None:
        """Take ``data``; then call :meth:`next_frame` until it returns None."""
        if self._failure is None:
            self._buffer += data

    def next_frame(self) -> Frame | None:
        """Return the next complete frame, or None if there is none yet.

        Raises:
            FrameError: the bytes are not a frame, or one over the limits. Raised again by every
                later call.
        """
        if self._failure is not None:
            raise self._failure
        try:
            frame = self._next_frame()
        except FrameError as exc:
            exc.receipt_id = self._headers.get("receipt")
            self._failure = exc
            self._buffer.clear()
            self._start = 0
            self._begin_frame()
            raise
        if frame is None:
            del self._buffer[: self._start]
            self._searched -= self._start
            self._start = 0
        return frame

    def _begin_frame(self) -> None:
        self._command = ""
        self._headers: dict[str, str] = {}
        self._header_count = 0
        self._in_body = False
        self._content_length: int | None = None
        # Octets of this frame that were read, line ends included.
        self._size = 0

    def _next_frame(self) -> Frame | None:
        if not self._command and (eols := _EOLS.match(self._buffer, self._start)):
            # Heart-beats, or the EOLs that may follow a frame; they belong to no frame.
            self._start = self._searched = eols.end()
        while not self._in_body:
            line = self._next_line()
            if line is None:
                return None
            if not self._command:
                self._read_command(line)
            elif line:
                self._read_header(line)
            else:
                self._end_headers()
        body = self._next_body()
        if body is None:
            return None
        frame = Frame(self._command, self._headers, body)
        self._begin_frame()
        return frame

    def _next_line(self) -> bytes | None:
        # What comes first decides, the line end, a NUL or a limit: then the same bytes give the
        # same error in any chunking.
        limits = self._limits
        room = limits.max_frame_size - self._size
        longest = min(limits.max_header_line, room)
        position = self._find(b"\n", longest)
        nul = self._buffer.find(b"\0", self._start, self._start + longest)
        if nul >= 0 and (position is None or nul < position):
            raise MalformedFrame("NUL inside the headers", self._buffer[self._start : nul])
        if position is None:
            if len(self._buffer) - self._start < longest:
                return None
            if longest == room:
                raise FrameSizeExceeded("frame", limits.max_frame_size, "octets")
            raise FrameSizeExceeded("header line", longest, "octets")
        line = bytes(self._buffer[self._start : position])
        # STOMP 1.2, Augmented BNF: EOL is an optional CR and LF. Older clients send it too.
        if line.endswith(b"\r"):
            line = line[:-1]
        if b"\r" in line:
            raise MalformedFrame("CR without LF", line)
        self._advance(position + 1)
        return line

    def _read_command(self, line: bytes) -> None:
        command = line.decode("ascii", "backslashreplace")
        if command not in COMMANDS:
            raise UnknownCommand(command)
        self._command = command

    def _read_header(self, line: bytes) -> None:
        self._header_count += 1
        if self._header_count > self._limits.max_headers:
            raise FrameSizeExceeded("frame", self._limits.max_headers, "headers")
        try:
            name, colon, value = line.decode().partition(":")
        except UnicodeDecodeError as exc:
            raise MalformedFrame("header line is not UTF-8", line) from exc
        if not colon:
            raise MalformedFrame("header line has no colon", line)
        if self._command not in UNESCAPED_COMMANDS:
            if self.version == Version.V1_0:
                # The examples of STOMP 1.0 have blanks after the colon.
                name, value = name.strip(" \t"), value.strip(" \t")
            else:
                name, value = self._unescape(name), self._unescape(value)
        if not name:
            raise MalformedFrame("header line has no name", line)
        # STOMP 1.2, Repeated Header Entries: "only the first header entry SHOULD be used".
        self._headers.setdefault(name, value)

    def _unescape(self, text: str) -> str:
        if "\\" not in text:
            return text
        unescapes = _UNESCAPES[self.version]

        def character(match: re.Match[str]) -> str:
            try:
                return unescapes[match[0]]
            except KeyError as exc:
                # STOMP 1.2, Value Encoding: other sequences are a fatal protocol error.
                raise InvalidEscape(match[0], self.version) from exc

        return _ESCAPE_SEQUENCE.sub(character, text)

    def _end_headers(self) -> None:
        value = self._headers.get("content-length")
        if value is not None:
            if not _CONTENT_LENGTH.fullmatch(value):
                raise InvalidContentLength(value)
            length = int(value)
            if length and self._command not in BODY_COMMANDS:
                raise BodyNotAllowed(self._command)
            if self._size + length + 1 > self._limits.max_frame_size:
                raise FrameSizeExceeded("frame", self._limits.max_frame_size, "octets")
            self._content_length = length
        self._in_body = True

    def _next_body(self) -> bytes | None:
        start, available = self._start, len(self._buffer) - self._start
        if self._command not in BODY_COMMANDS:
            if not available:
                return None
            if self._buffer[start]:
                raise BodyNotAllowed(self._command)
            end = start
        elif self._content_length is not None:
            end = start + self._content_length
            if available <= self._content_length:
                return None
            if self._buffer[end]:
                raise MissingNul(self._content_length)
        else:
            room = self._limits.max_frame_size - self._size
            position = self._find(b"\0", room)
            if position is None:
                if available < room:
                    return None
                raise FrameSizeExceeded("frame", self._limits.max_frame_size, "octets")
            end = position
        body = bytes(self._buffer[start:end])
        self._advance(end + 1)
        return body

    def _find(self, octet: bytes, room: int) -> int | None:
        # Searches no octet twice, so a frame that comes in single octets costs no more than once.
        end = min(self._start + room, len(self._buffer))
        position = self._buffer.find(octet, max(self._searched, self._start), end)
        if position < 0:
            self._searched = end
            return None
        return position

    def _advance(self, position: int) -> None:
        self._size += position - self._start
        self._start = self._searched = position


def _is_unicode(text: str) -> bool:
    # Half of a surrogate pair is a str and not UTF-8.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
