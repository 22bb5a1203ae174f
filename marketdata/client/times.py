"""Turn the times that callers give into those of the gateway, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import index
from typing import SupportsIndex

import numpy as np

from marketdata.client.errors import InvalidArgument

# Digits are milliseconds, microseconds or nanoseconds since 1970, recognised by magnitude; text is
# ISO 8601 with a zone.
Time = datetime | np.datetime64 | SupportsIndex | str

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def format_time(argument: str, value: Time) -> str:
    """Return a time as the gateway reads it.

    Raises:
        InvalidArgument: it is no time, or has no zone.
    """
    if isinstance(value, str):
        # The gateway says what is wrong with it.
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            problem = f"{value} has no time zone; add tzinfo=datetime.UTC, or another zone"
            raise InvalidArgument(argument, problem)
        # Whole numbers: a float has no room for nanoseconds. pandas adds those below a microsecond.
        nanosecond: int = getattr(value, "nanosecond", 0)
        return str((value - _EPOCH) // _MICROSECOND * 1_000 + nanosecond)
    if isinstance(value, np.datetime64):
        # As everywhere in numpy, it is UTC.
        if np.isnat(value):
            raise InvalidArgument(argument, "is NaT")
        return str(int(value.astype("datetime64[ns]").astype(np.int64)))
    try:
        return str(index(value))
    except TypeError as exc:
        problem = f"must be a datetime with a time zone, ISO 8601 or a number, is {value!r:.40}"
        raise InvalidArgument(argument, problem) from exc


def to_datetime(ns: int) -> datetime:
    """Return nanoseconds since 1970 as a datetime in UTC, cut to the microsecond."""
    return _EPOCH + timedelta(microseconds=ns // 1_000)
