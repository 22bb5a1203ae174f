"""Describe the JSON of REST for OpenAPI; the encoder writes it, not these models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.encoding import (
    AGGREGATE_COLUMNS,
    BAR_COLUMNS,
    aggregate_to_dict,
    bar_to_dict,
    describe,
)
from marketdata.fields import Kind, PublicColumn
from marketdata.wire.market_data_pb2 import BAR_STATE_FINAL, COVERAGE_FULL, Aggregate, Bar

_DIGITS = r"^[0-9]+$"
_DECIMAL = r"^[0-9]+(\.[0-9]*[1-9])?$"

# The examples.
_AGGREGATE = Aggregate(
    symbol="AAPL",
    open=150.25,
    high=152.1,
    low=149.8,
    close=151.5,
    volume=1_000_000,
    timestamp=1735201234567890123,
    trades=4711,
    vwap=150.98,
    sequence=4711,
    epoch=1735201200000000000,
)
_BAR = Bar(
    symbol="AAPL",
    interval="1m",
    start=1735201200000000000,
    end=1735201260000000000,
    open=150.25,
    high=152.1,
    low=149.8,
    close=151.5,
    volume=1_000_000,
    trades=4711,
    vwap=150.98,
    state=BAR_STATE_FINAL,
    coverage=COVERAGE_FULL,
    phase="regular",
    sequence=17,
    epoch=1735201200000000000,
)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


# The aggregator's calendars have the same words; on the wire the phase is text.
_WORDS = {"phase": ("pre", "regular", "post", "closed")}


def json_types(columns: Sequence[PublicColumn]) -> dict[str, Any]:
    """Return the keys of a JSON object with their types, as annotations of a model."""
    return {column.name: _json_type(column) for column in columns}


def _json_type(column: PublicColumn) -> Any:
    field = column.field
    kind: Any
    rules: dict[str, Any] = {}
    match field.kind:
        case Kind.REAL:
            kind = float
        case Kind.COUNT | Kind.POSITION | Kind.TIME:
            kind, rules = str, {"pattern": _DIGITS}
        case Kind.SIZE:
            kind, rules = str, {"pattern": _DECIMAL}
        case Kind.NUMBER:
            kind, rules = int, {"ge": 0}
        case Kind.FLAG:
            kind = bool
        case Kind.TEXT | Kind.CHOICE:
            words = tuple(word for _, word in field.choices) or _WORDS.get(field.name)
            kind = Literal[words] if words else str
    if field.nullable:
        kind = kind | None
    return Annotated[kind, Field(description=describe(column) or None, **rules)]


def _example(document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {"example": dict(document)}


class AggregateBody(_Body):
    """The state of one symbol in its session. All but the symbol is null in the fallback."""

    model_config = ConfigDict(json_schema_extra=_example(aggregate_to_dict(_AGGREGATE)))

    __annotations__ = json_types(AGGREGATE_COLUMNS)


class AggregatesBody(_Body):
    """The states of several symbols, in the order of the request, each once."""

    aggregates: list[AggregateBody]
    unknown: list[str] = Field(description="symbols without data")


class SymbolsBody(_Body):
    """A page of symbols, in byte order."""

    symbols: list[str]
    nextCursor: str | None = Field(  # noqa: N815  the name on the wire
        description="pass it as cursor to continue; null when there are no more"
    )


class ViewBody(BaseModel):
    """What a view knows of one symbol; each view has more fields of its own."""

    model_config = ConfigDict(extra="allow")

    symbol: str
    view: str
    sinceNs: str = Field(  # noqa: N815  the name on the wire
        pattern=_DIGITS, description="the view has all trades that arrived from then on"
    )


class BarBody(_Body):
    """What was traded of one symbol with start <= exchange time < end."""

    model_config = ConfigDict(json_schema_extra=_example(bar_to_dict(_BAR)))

    __annotations__ = json_types(BAR_COLUMNS)


class BarsBody(_Body):
    """A page of bars, by start and then number."""

    symbol: str
    interval: str
    bars: list[BarBody]
    nextCursor: str | None = Field(  # noqa: N815  the name on the wire
        description="pass it as cursor to continue; null when there are no more"
    )


class GatewayStatusBody(_Body):
    """The state of this gateway."""

    version: str
    uptimeS: int = Field(ge=0)  # noqa: N815  the name on the wire
    feed: Literal["live", "stale"] = Field(description="whether live clients see the present")
    breaker: Literal["closed", "open", "half-open"] = Field(
        description="whether requests reach the aggregator"
    )
    clients: int = Field(ge=0, description="live clients of all endpoints")
    maxClients: int  # noqa: N815  the name on the wire
    refused: dict[str, str] = Field(
        description="live clients that got 503, by reason: `full`, `rate` or `stopping`"
    )
    subscriptions: int = Field(ge=0)
    topics: int = Field(ge=0, description="symbols and bars that are followed")
    conflated: str = Field(
        description="states that were left out because their readers were slow", pattern=_DIGITS
    )


class FeedStatusBody(_Body):
    """One ingest process that is, or was, connected; null: it did not say."""

    producerId: str  # noqa: N815  the name on the wire
    connected: bool
    producers: int | None = Field(description="connected to it")
    accepted: str | None
    rejected: dict[str, str] | None = Field(description="ticks by reason")
    reportedAt: str | None  # noqa: N815  the name on the wire


class StoreStatusBody(_Body):
    """The state of the database of bars."""

    state: Literal["off", "ok", "overflowing", "failing"]
    problem: str | None
    waiting: str = Field(description="bars that wait to be written", pattern=_DIGITS)
    maxWaiting: str = Field(pattern=_DIGITS)  # noqa: N815  the name on the wire
    written: str = Field(pattern=_DIGITS)
    lost: str = Field(
        description="bars that were given up because too many waited", pattern=_DIGITS
    )


class LogStatusBody(_Body):
    """The state of the tick log of the aggregator."""

    state: Literal["off", "ok", "disk full", "failing"] = Field(
        description="while it is neither off nor ok, no tick is acknowledged"
    )
    problem: str | None
    firstOffset: str = Field(  # noqa: N815  the name on the wire
        description="the oldest record that is kept", pattern=_DIGITS
    )
    nextOffset: str = Field(pattern=_DIGITS)  # noqa: N815  the name on the wire
    waitingBytes: str = Field(  # noqa: N815  the name on the wire
        description="not written yet", pattern=_DIGITS
    )
    unsyncedBytes: str = Field(  # noqa: N815  the name on the wire
        description="written, and not synced to the disk", pattern=_DIGITS
    )
    checkpointOffset: str = Field(  # noqa: N815  the name on the wire
        description="a start applies the records from here on", pattern=_DIGITS
    )
    checkpointTime: str | None  # noqa: N815  the name on the wire


class AggregatorStatusBody(_Body):
    """The status of the aggregator; only `status`, not ok, while it does not answer."""

    status: str = Field(description="ok, or gRPC's word for why it does not answer")
    epoch: str | None = None
    symbols: int | None = None
    accepted: str | None = Field(default=None, description="ticks")
    duplicates: str | None = None
    late: str | None = Field(default=None, description="ticks of an earlier session")
    barsLate: str | None = Field(  # noqa: N815  the name on the wire
        default=None, description="ticks too late for any bar"
    )
    rejected: dict[str, str] | None = Field(default=None, description="ticks by reason")
    intervals: list[str] | None = Field(default=None, description="that bars are made of")
    feeds: list[FeedStatusBody] | None = None
    store: StoreStatusBody | None = None
    log: LogStatusBody | None = None


class StatusBody(_Body):
    """The status of the server."""

    status: Literal["ok", "degraded"] = Field(
        description="ok: the feed is live and the aggregator answers"
    )
    gateway: GatewayStatusBody
    aggregator: AggregatorStatusBody


class LiveBody(_Body):
    """The gateway runs."""

    status: Literal["live"]


class ReadyBody(_Body):
    """Whether the gateway can answer with live data, and if not, why."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str] = Field(description="each dependency: ok, or what is wrong with it")


class FieldErrorBody(_Body):
    """What is wrong with one field of the request."""

    field: str
    detail: str


class ProblemBody(_Body):
    """A problem as RFC 9457 describes it."""

    type: str = Field(description="names the kind of problem; about:blank: the status says it all")
    title: str
    status: int
    detail: str
    instance: str = Field(description="the path of the request")
    errors: list[FieldErrorBody] | None = Field(
        default=None, description="the fields that cannot be used; only with status 422"
    )
