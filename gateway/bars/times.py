"""Parse the times that clients send."""

from __future__ import annotations

import re
from datetime import datetime

from gateway.errors import FieldError, InvalidInput
from marketdata.timestamps import NS_PER_MS, NS_PER_S, to_nanoseconds

# Below this a number may be milliseconds before March 1973 or seconds of today, so it is rejected.
MIN_MS = 10**11
MAX_NS = 2**63 - 1

HELP = (
    "milliseconds, microseconds or nanoseconds since 1970 (told apart by magnitude), or ISO 8601 "
    "with a zone, such as 2026-01-02T14:30:00Z"
)
# Matches times only. February 29 is left out here, and parsed in leap years all the same.
PATTERN = (
    r"^(?:0|[1-9][0-9]{11,18}|(?:19[7-9][0-9]|20[0-9]{2}|21[0-9]{2})-"
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))T(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9]))$"
)

_DIGITS = re.compile(r"[0-9]{1,20}")
# A plus sign that was not encoded in an address arrives as a space.
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:[.,]([0-9]{1,9}))?"
    r"(?:([Zz])|([+\- ])([0-9]{2}):?([0-9]{2}))"
)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def parse_time(field: str, text: str) -> int:
    """Return ``text`` in nanoseconds since 1970.

    Raises:
        InvalidInput: it is not a time, or could mean two times.
    """
    if _DIGITS.fullmatch(text):
        number = int(text)
        if 0 < number < MIN_MS:
            raise _invalid(field, text, "looks like seconds, and could be milliseconds of 1970")
        ns = to_nanoseconds(number, "auto")
    else:
        ns = _parse_iso(field, text)
    if ns > MAX_NS:
        raise _invalid(field, text, "is after the year 2262")
    return ns


def _parse_iso(field: str, text: str) -> int:
    found = _ISO.fullmatch(text.strip())
    if found is None:
        raise _invalid(field, text, "is no time that is understood")
    date, minutes, seconds, fraction, utc, sign, zone_hours, zone_minutes = found.groups()
    zone = "+00:00" if utc else f"{sign.replace(' ', '+')}{zone_hours}:{zone_minutes}"
    try:
        moment = datetime.fromisoformat(f"{date}T{minutes}{seconds or ':00'}{zone}")
        since = moment - _EPOCH
    except (ValueError, OverflowError) as exc:
        raise _invalid(field, text, f"is no time: {exc}") from exc
    ns = (since.days * 86_400 + since.seconds) * NS_PER_S + int((fraction or "0").ljust(9, "0"))
    if ns < 0:
        raise _invalid(field, text, "is before 1970")
    return ns


def format_time(ns: int) -> str:
    """Return ``ns`` for an error: in milliseconds if they are whole, else in nanoseconds."""
    return str(ns if ns % NS_PER_MS else ns // NS_PER_MS)


def _invalid(field: str, text: str, problem: str) -> InvalidInput:
    return InvalidInput([FieldError(field, f"{text[:40]!r} {problem}; use {HELP}")])
