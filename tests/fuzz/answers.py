"""What may come back: every status, close code and RPC code that the documentation names."""

from __future__ import annotations

import re

import grpc

# docs/rest.md, docs/protocols/*.md; 1xx, 206, 304, 416 and 426 are HTTP's own answers to what a
# request asks for in its headers.
STATUSES = frozenset(
    {100, 101, 200, 204, 206, 304, 400, 403, 404, 405, 406, 408, 413, 415, 416, 422, 426, 429, 503}
)
# SockJS says 500 for what is the client's fault; its tests want so.
SOCKJS_500 = (
    *(b"Payload expected.", b"Broken JSON encoding."),
    *(b'"callback" parameter required', b'invalid "callback" parameter'),
)
# docs/behavior.md and docs/protocols/graphql.md, without 1001 and 1012 (nothing stops), 1011 (a
# failure) and 1006 (no code at all).
CLOSE_CODES = frozenset(
    {1000, 1002, 1003, 1007, 1009, 4400, 4401, 4403, 4404, 4406, 4408, 4409, 4413, 4429, 4490}
)
# SockJS says these in a close frame of its own (docs/protocols/sockjs.md).
SOCKJS_CODES = CLOSE_CODES | {2010, 3000}
RPC_CODES = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        # No such method: gRPC's own.
        grpc.StatusCode.UNIMPLEMENTED,
        # We did not wait for more.
        grpc.StatusCode.CANCELLED,
    }
)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n")
_SOCKJS_CLOSE = re.compile(rb'(?:^|\n|data: |")c\[(\d+),')


def undocumented(sent: bytes, received: bytes) -> str | None:
    """Return what is wrong with the answers of one HTTP connection, None if nothing is."""
    for found in _STATUS.finditer(received):
        status = int(found[1])
        if status == 101:
            head_end = received.index(b"\r\n\r\n", found.start()) + 4
            return _wrong_frames(sent, received[head_end:])
        if status == 500:
            _, _, body = received[found.end() :].partition(b"\r\n\r\n")
            if body.startswith(SOCKJS_500):
                continue
        if status not in STATUSES:
            return f"status {status}"
    for found in _SOCKJS_CLOSE.finditer(received):
        if int(found[1]) not in SOCKJS_CODES:
            return f"SockJS close {int(found[1])}"
    if received and not received.startswith(b"HTTP/1.1 "):
        return "an answer that is not HTTP"
    return None


def _wrong_frames(sent: bytes, data: bytes) -> str | None:
    while len(data) >= 2:
        first, size = data[0], data[1]
        if first & 0x70 or size & 0x80 or first & 0x0F not in {0, 1, 2, 8, 9, 10}:
            return f"frame begins with {data[:2].hex()}"
        start = 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        payload, data = data[start : start + size], data[start + size :]
        if first & 0x0F == 8 and len(payload) >= 2:
            code = int.from_bytes(payload[:2], "big")
            if code not in CLOSE_CODES and not _may_have_sent(sent, code):
                return f"close code {code} {payload[2:]!r}"
            # RFC 6455, 5.5.2: pings are answered until the other side has closed, too.
            rest = data[:1]
            return None if rest in {b"", b"\x8a"} else f"after close: {data[:20]!r}"
        sockjs = _SOCKJS_CLOSE.match(payload)
        if sockjs and int(sockjs[1]) not in SOCKJS_CODES:
            return f"SockJS close {int(sockjs[1])}"
    return None


def close_code(received: bytes) -> int | None:
    """Return the code of the close frame that ends ``received``, if it has no reason."""
    head, size = received[-4:-2], received[-2:]
    return int.from_bytes(size, "big") if head == b"\x88\x02" else None


def _may_have_sent(sent: bytes, code: int) -> bool:
    """Say whether a close of the client, which is echoed, may have had the code."""
    want = code.to_bytes(2, "big")
    # FIN and close, masked: a small length, the key, then the masked code.
    return any(
        bytes((found[2][0] ^ found[1][0], found[2][1] ^ found[1][1])) == want
        for found in re.finditer(rb"\x88[\x80-\xff](.{4})(.{2})", sent, re.DOTALL)
    )
