"""Know which worker a SockJS session is of.

The requests of one session may come over any connection, and the kernel gives each connection to
any worker. So that no worker has to know the sessions of another, the id itself says whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from zlib import crc32

from gateway.sockjs.urls import SessionUrl, parse_path

# Those whose requests belong to a session that more requests follow. A WebSocket has its session
# for itself.
TRANSPORTS = frozenset(
    {"eventsource", "htmlfile", "jsonp", "jsonp_send", "xhr", "xhr_send", "xhr_streaming"}
)
# As h11 reads it: what it does not take, it refuses.
_REQUEST_LINE = re.compile(rb"[^ \r\n]+ ([^ \r\n]+) HTTP/[0-9]\.[0-9]\r?\n")


class Owners:
    """The rule that all workers have in common.

    Args:
        prefix: where SockJS is.
        number: of this worker.
        count: of the workers.
        decode_path: returns the path that the bytes of one in a request stand for.
    """

    def __init__(
        self, prefix: str, number: int, count: int, decode_path: Callable[[bytes], str]
    ) -> None:
        self._prefix = prefix
        self._number = number
        self._count = count
        self._decode_path = decode_path

    def other_owner(self, data: bytes) -> int | None:
        """Return whom the request that ``data`` begins with belongs to, if not to this worker."""
        match = _REQUEST_LINE.match(data)
        if match is None:
            return None
        path = self._decode_path(match[1].partition(b"?")[0])
        if not path.startswith(self._prefix):
            return None
        target = parse_path(path[len(self._prefix) :])
        if not isinstance(target, SessionUrl) or target.transport not in TRANSPORTS:
            return None
        owner = crc32(target.session.encode("utf-8", "surrogatepass")) % self._count
        return None if owner == self._number else owner
