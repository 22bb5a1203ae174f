"""Describe the JSON of the REST door for OpenAPI; the encoder, not these, writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

_EXAMPLE: dict[str, JsonValue] = {
    "symbol": "AAPL",
    "open": 150.25,
    "high": 152.1,
    "low": 149.8,
    "close": 151.5,
    "volume": "1000000",
    "timestamp": "1735201234567",
    "timestampNs": "1735201234567890123",
    "trades": "4711",
    "vwap": 150.98,
    "sequence": "4711",
    "epoch": "1735201200000000000",
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AggregateBody(_Body):
    """The state of one symbol in its session. All but the symbol is null in the fallback."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    symbol: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: str | None = Field(description="decimal digits", pattern=r"^-?[0-9]+$")
    timestamp: str | None = Field(
        description="exchange time of close, milliseconds since 1970-01-01T00:00Z, decimal digits",
        pattern=r"^-?[0-9]+$",
    )
    timestampNs: str | None = Field(  # noqa: N815  the name on the wire
        description="the same in nanoseconds", pattern=r"^-?[0-9]+$"
    )
    trades: str | None = Field(description="ticks in the session", pattern=r"^-?[0-9]+$")
    vwap: float | None = Field(description="volume-weighted average price")
    sequence: str | None = Field(
        description="counts the states of the symbol within the epoch", pattern=r"^[0-9]+$"
    )
    epoch: str | None = Field(
        description="names the life of the aggregator's state; sequences compare within one epoch",
        pattern=r"^[0-9]+$",
    )


class AggregatesBody(_Body):
    """The states of several symbols, in the order of the request, each once."""

    aggregates: list[AggregateBody]
    unknown: list[str] = Field(description="symbols without data")


class SymbolsBody(_Body):
    """Some of the symbols, in byte order."""

    symbols: list[str]
    nextCursor: str | None = Field(  # noqa: N815  the name on the wire
        description="pass it as cursor to continue; null when there are no more"
    )


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
