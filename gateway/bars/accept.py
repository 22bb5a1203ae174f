"""Choose the form of an answer by the header Accept (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.errors import NotAcceptable

# RFC 9110, 12.4.2.
_QVALUE = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def choose(accept: str, offered: Sequence[str]) -> str:
    """Return that of ``offered`` which ``accept`` likes best; of equals the first.

    Nothing, or what breaks the grammar, accepts everything.

    Raises:
        NotAcceptable: it accepts none of them.
    """
    ranges = [_parse(part) for part in accept.split(",") if part.strip()]
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


def _parse(part: str) -> tuple[str, float]:
    media_range, *parameters = (each.strip().lower() for each in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q" and _QVALUE.fullmatch(value.strip()):
            return media_range, float(value)
    return media_range, 1.0
