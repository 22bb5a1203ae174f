"""Check a request for bars, and read and write the cursors of its pages."""

from __future__ import annotations

import binascii
import contextlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.store.queries import Range
from marketdata.errors import MarketDataError
from marketdata.intervals import Interval, InvalidInterval, parse_interval
from marketdata.numbers import parse_int
from marketdata.symbols import normalize_symbol
from marketdata.wire import market_data_pb2 as wire

DEFAULT_LIMIT = 1_000
# A bar is at most 200 bytes, so an answer is 2 MB of the 4 MiB a message may have.
MAX_LIMIT = 10_000
MAX_FILL_INTERVALS = 100_000
END_OF_TIME = 2**63 - 1
# Longer bars are made of these.
DAY = "1d"

# Start and number of a bar.
Place = tuple[int, int]


class InvalidBars(MarketDataError):
    """A field of a request for bars has a value that cannot be used."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


@dataclass(frozen=True, slots=True)
class BarQuery(Range):
    """A valid request for bars."""

    # Whether intervals without a trade get a filler.
    fill: bool = False


def find_interval(name: str, intervals: Mapping[str, Interval]) -> Interval:
    """Return an interval by its name: one of ``intervals``, or one that is made of daily bars.

    Raises:
        InvalidInterval: there are no bars of that interval.
    """
    interval = intervals.get(name)
    if interval is not None:
        return interval
    names = " ".join(intervals)
    if DAY in intervals:
        with contextlib.suppress(InvalidInterval):
            interval = parse_interval(name)
        if interval is not None and interval.is_long:
            return interval
        names += ", or of days, weeks, months and years such as 3d 1w 1M 3M 1y"
    raise InvalidInterval(name, names)


def read_request(request: wire.BarsRequest, intervals: Mapping[str, Interval]) -> BarQuery:
    """Return the query that ``request`` describes.

    Raises:
        InvalidSymbol: the symbol is invalid.
        InvalidInterval: there are no bars of that interval.
        InvalidBars: another field cannot be used; the message names it.
    """
    symbol = normalize_symbol(request.symbol)
    interval = find_interval(request.interval, intervals)
    has_from, has_to = request.HasField("from"), request.HasField("to")
    # "from" is a word of the language.
    from_ns: int = getattr(request, "from") if has_from else 0
    to_ns = request.to if has_to else END_OF_TIME
    if has_from and from_ns >= to_ns:
        raise InvalidBars("from", f"{from_ns} is not before to {to_ns}")
    if request.limit > MAX_LIMIT:
        raise InvalidBars("limit", f"{request.limit} is above {MAX_LIMIT}")
    fill = request.fill != wire.FILL_NONE
    if fill and not interval.by_clock:
        raise InvalidBars("fill", f"is for intervals of time, {interval.name} is not one")
    if (
        fill
        and has_from
        and has_to
        and (to_ns - from_ns) > MAX_FILL_INTERVALS * interval.nominal_ns
    ):
        length = -(-(to_ns - from_ns) // interval.nominal_ns)
        raise InvalidBars(
            "fill", f"of {length} intervals between from and to, limit is {MAX_FILL_INTERVALS}"
        )
    after = read_cursor(request.cursor) if request.cursor else None
    return BarQuery(
        symbol,
        interval.name,
        from_ns,
        to_ns,
        request.limit or DEFAULT_LIMIT,
        after,
        newest=not has_from and after is None,
        closed_only=not request.include_partial,
        fill=fill,
    )


def write_cursor(place: Place) -> str:
    """Return the cursor that continues after a bar."""
    start, number = place
    return urlsafe_b64encode(f"{start}.{number}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> Place:
    """Return the bar after which ``cursor`` continues.

    Raises:
        InvalidBars: we never gave that cursor.
    """
    try:
        text = urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
        start, number = (parse_int(part) for part in text.split("."))
    except (binascii.Error, ValueError) as exc:
        raise InvalidBars("cursor", f"{cursor[:40]!r} was not given by an answer") from exc
    if not (0 <= start <= END_OF_TIME and 0 <= number < 2**31):
        raise InvalidBars("cursor", f"{cursor[:40]!r} was not given by an answer")
    return start, number
