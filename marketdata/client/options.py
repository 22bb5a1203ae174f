"""The options of a client, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TypedDict
from urllib.parse import urlsplit

from marketdata.client.errors import InvalidArgument

DEFAULT_URL = "http://localhost:8080"


class Options(TypedDict, total=False):
    """What a client can be told beside the address of the gateway.

    Attributes:
        deadline_s: a request gets its answer in so many seconds, all attempts included; each page
            of bars and symbols is one request (10).
        connect_timeout_s: the first connection of a stream must begin within so many seconds; inf:
            wait (10).
        headers: sent with every request, such as the ``Authorization`` that a proxy wants.
    """

    deadline_s: float
    connect_timeout_s: float
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Checked:
    """Valid options. The address ends with a slash."""

    url: str
    stream_url: str
    deadline_s: float
    connect_timeout_s: float
    headers: Mapping[str, str]


def check_options(url: str, options: Options) -> Checked:
    """Return the options with their defaults.

    Raises:
        InvalidArgument: one is not valid.
        TypeError: there is no such option.
    """
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(f"unknown option {sorted(unknown)[0]!r}")
    parts = urlsplit(url)
    try:
        is_known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_known = False
    if not is_known or parts.query or parts.fragment:
        raise InvalidArgument("url", f"must be like {DEFAULT_URL}, is {url!r:.80}")
    base = parts._replace(path=parts.path.rstrip("/") + "/")
    socket = base._replace(scheme="wss" if parts.scheme == "https" else "ws")
    return Checked(
        base.geturl(),
        f"{socket.geturl()}api/v1/stream",
        _check_seconds("deadline_s", options.get("deadline_s", 10.0)),
        _check_seconds("connect_timeout_s", options.get("connect_timeout_s", 10.0)),
        dict(options.get("headers", {})),
    )


def _check_seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= inf:
        raise InvalidArgument(name, f"must be seconds above 0, is {value!r:.40}")
    return value
