"""Check what clients ask for of bars, before the aggregator is called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gateway.bars.times import format_time, parse_time
from gateway.errors import FieldError, InvalidInput
from gateway.hub.backfill import Backfill
from gateway.hub.bar_subscription import BarSubscription
from gateway.hub.subscription import BufferLimits, Resume, Subscription
from gateway.hub.updates import Policy
from marketdata.intervals import InvalidInterval, parse_interval
from marketdata.wire.market_data_pb2 import FILL_ALL, FILL_NONE, BarsRequest

DEFAULT_LIMIT = 1000
# The aggregator's own limit; 10,000 bars are about 1.2 MB on the wire and 4 MB of JSON.
MAX_LIMIT = 10_000


class Fill(StrEnum):
    """How intervals without a trade are filled."""

    NONE = "none"
    # A filler at the close of the bar before it.
    PREV = "prev"
    # A filler without prices.
    NULL = "null"


@dataclass(frozen=True, slots=True)
class BarsQuery:
    """Which bars of one symbol; checked as far as the gateway can."""

    symbol: str
    interval: str
    from_ns: int | None = None
    to_ns: int | None = None
    limit: int = DEFAULT_LIMIT
    cursor: str = ""
    fill: Fill = Fill.NONE
    include_partial: bool = False

    def to_request(self) -> BarsRequest:
        """Return the request to the aggregator."""
        request = BarsRequest(
            symbol=self.symbol,
            interval=self.interval,
            limit=self.limit,
            cursor=self.cursor,
            include_partial=self.include_partial,
            fill=FILL_NONE if self.fill is Fill.NONE else FILL_ALL,
        )
        if self.from_ns is not None:
            # The name is a keyword of Python.
            setattr(request, "from", self.from_ns)
        if self.to_ns is not None:
            request.to = self.to_ns
        return request


def check_interval(interval: str) -> str:
    """Return the interval in normal form.

    Raises:
        InvalidInput: it is not an interval.
    """
    try:
        return parse_interval(interval).name
    except InvalidInterval as exc:
        raise InvalidInput([FieldError("interval", str(exc))]) from exc


def build_subscription(
    symbols: Iterable[str] | None,
    policy: Policy,
    resume: Resume | None,
    limits: BufferLimits,
    *,
    interval: str | None,
    since: str | None,
    fields: tuple[str, str] = ("interval", "since"),
) -> Subscription:
    """Return the subscription that a client asks for; empty text counts as absent.

    Raises:
        InvalidInput: the interval or the start of history cannot be used.
    """
    interval_field, since_field = fields
    if not interval:
        if since:
            raise InvalidInput(
                [FieldError(since_field, f"is for bars, which need {interval_field}")]
            )
        return Subscription(symbols, policy, resume, limits)
    check_interval(interval)
    backfill = None
    if since:
        if resume is not None:
            raise InvalidInput([FieldError(since_field, "cannot be had with what was seen last")])
        if symbols is None:
            raise InvalidInput([FieldError(since_field, "needs symbols by name, not *")])
        backfill = Backfill(symbols, parse_time(since_field, since))
    return BarSubscription(interval, symbols, policy, resume, limits, backfill=backfill)


def parse_range(
    interval: str,
    *,
    start: str | None,
    end: str | None,
    limit: int = DEFAULT_LIMIT,
    limit_field: str = "limit",
) -> tuple[int | None, int | None]:
    """Return the times of ``start`` and ``end``; empty text counts as absent.

    Raises:
        InvalidInput: names each field that cannot be used.
    """
    errors: list[FieldError] = []

    def checked(field: str, text: str | None) -> int | None:
        if text:
            try:
                return parse_time(field, text)
            except InvalidInput as exc:
                errors.extend(exc.errors)
        return None

    try:
        check_interval(interval)
    except InvalidInput as exc:
        errors.extend(exc.errors)
    from_ns, to_ns = checked("from", start), checked("to", end)
    if from_ns is not None and to_ns is not None and from_ns >= to_ns:
        problem = f"{format_time(from_ns)} is not before to, {format_time(to_ns)}"
        errors.append(FieldError("from", problem))
    if not 1 <= limit <= MAX_LIMIT:
        errors.append(FieldError(limit_field, f"{limit} is not between 1 and {MAX_LIMIT}"))
    if errors:
        raise InvalidInput(errors)
    return from_ns, to_ns
