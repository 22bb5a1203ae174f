"""Choose the form of a response by the header Accept (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.errors import NotAcceptable

# RFC 9110, 12.4.2.
_QVALUE = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def choose_media_type(accept: str, offered: Sequence[str]) -> str:
    """Return the one of ``offered`` that ``accept`` prefers; of equals the first.

    An empty or malformed header accepts everything.

    Raises:
        NotAcceptable: it accepts none of them.
    """
    ranges = [_parse_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return offered[0]
    best, best_q = "", 0.0
    for media_type in offered:
        kind = media_type.partition("/")[0]
        # "The most specific reference has precedence."
        matching = [
            (precision, q)
            for media_range, q in ranges
            for precision, pattern in enumerate(("*/*", f"{kind}/*", media_type))
            if media_range == pattern
        ]
        q = max(matching, default=(0, 0.0))[1]
        if q > best_q:
            best, best_q = media_type, q
    if not best:
        raise NotAcceptable(accept, offered)
    return best


def parse_parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return what a header's value begins with, and its parameters, all in lower case."""
    name, *rest = value.split(";")
    parameters = {}
    for parameter in rest:
        key, _, text = parameter.partition("=")
        parameters[key.strip().lower()] = text.strip().strip('"').lower()
    return name.strip().lower(), parameters


def _parse_range(part: str) -> tuple[str, float]:
    media_range, parameters = parse_parameters(part)
    q = parameters.get("q", "")
    return media_range, float(q) if _QVALUE.fullmatch(q) else 1.0
