"""Which resource of a SockJS service a path means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

# The client chooses both ids, so their length must be bounded. sockjs-client uses 3 and 8.
MAX_ID_LENGTH = 256

# "iframe[0-9-.a-z_]*.html", and nothing else: no capital letters, no slash.
_IFRAME = re.compile(r"/iframe[0-9\-.a-z_]*\.html")
# "The server must accept any value in `server` and `session` fields. But not an empty string,
# anything containing dots or paths with less or more parts."
_SESSION = re.compile(
    rf"/[^/.]{{1,{MAX_ID_LENGTH}}}/(?P<session>[^/.]{{1,{MAX_ID_LENGTH}}})/(?P<transport>[a-z_]+)",
    re.DOTALL,
)


class Page(Enum):
    """A resource that belongs to no session."""

    GREETING = "greeting"
    INFO = "info"
    IFRAME = "iframe"
    RAW_WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class SessionUrl:
    """A transport of one session.

    "A session is identified by only `session_id`": the server part is for load balancers.
    """

    session: str
    transport: str


def parse_path(path: str) -> Page | SessionUrl | None:
    """Return what ``path``, the part after the service's prefix, names; None: nothing."""
    if path in {"", "/"}:
        return Page.GREETING
    if path == "/info":
        return Page.INFO
    if path == "/websocket":
        return Page.RAW_WEBSOCKET
    if _IFRAME.fullmatch(path):
        return Page.IFRAME
    if match := _SESSION.fullmatch(path):
        return SessionUrl(match["session"], match["transport"])
    return None
