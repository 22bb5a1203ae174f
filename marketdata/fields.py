"""The fields of aggregates and bars: the one table from which every form of them follows.

The ``.proto`` gives a field its number and its type on the wire. This table gives all the rest:
which numbers a candle keeps, which columns the store has, and the names, kinds and descriptions at
every endpoint (JSON, CSV, Arrow, GraphQL, OpenAPI, TypeScript). ``docs/contributing-a-field.md``
shows how to add one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby


class Kind(Enum):
    """What a field holds, and so how each form writes it."""

    # A string; where it may be missing, "" on the wire and null in JSON.
    TEXT = "text"
    # A double: a price, or a sum or mean of money. A JSON number, null when it is not known.
    REAL = "real"
    # int64, never negative: a decimal string in JSON, since JavaScript's numbers end at 2**53.
    COUNT = "count"
    # int64 that counts 10^-volume_decimals: a decimal string in JSON, such as "0.469".
    SIZE = "size"
    # uint64 that orders states: a decimal string in JSON.
    POSITION = "position"
    # uint32: a JSON number.
    NUMBER = "number"
    # int64 nanoseconds since the Unix epoch. In JSON a decimal string of milliseconds, and one of
    # nanoseconds under the same name with "Ns" appended.
    TIME = "time"
    # One of a few words: an enumeration on the wire, a string in JSON.
    CHOICE = "choice"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an aggregate or a bar.

    Attributes:
        name: in Python, in the columns of the kernels and in the store.
        kind: what it holds.
        message: its name in the ``.proto`` where that differs; "-": it is not on the wire.
        json: its name at the endpoints; "": they do not show it.
        candle: whether every candle keeps it, as a column of the kernels.
        stored: whether the store has a column for it.
        nullable: whether JSON may hold null for it.
        choices: the words of a CHOICE by their numbers on the wire.
        description: one phrase for the schemas.
    """

    name: str
    kind: Kind
    message: str = ""
    json: str = ""
    candle: bool = False
    stored: bool = False
    nullable: bool = False
    choices: tuple[tuple[int, str], ...] = ()
    description: str = ""

    @property
    def on_wire(self) -> str:
        """The name of the message's field, or "" if it has none."""
        return "" if self.message == "-" else self.message or self.name


@dataclass(frozen=True, slots=True)
class PublicColumn:
    """One key of the JSON, and one column of CSV and Arrow."""

    name: str
    field: Field
    # Of a TIME: whether this column has its nanoseconds, else its milliseconds.
    is_ns: bool = False


def public_columns(fields: Sequence[Field]) -> tuple[PublicColumn, ...]:
    """Return what the endpoints show, in their order.

    The nanoseconds of neighbouring times follow their milliseconds: start, end, startNs, endNs.
    """
    return tuple(_public_columns(fields))


def _public_columns(fields: Sequence[Field]) -> Iterator[PublicColumn]:
    shown = [field for field in fields if field.json]
    for is_time, group in groupby(shown, key=lambda field: field.kind is Kind.TIME):
        neighbours = list(group)
        yield from (PublicColumn(field.json, field) for field in neighbours)
        if is_time:
            for field in neighbours:
                yield PublicColumn(f"{field.json}Ns", field, is_ns=True)


_SEQUENCE_OF_STATES = "counts the published states within one epoch: 1, 2, 3, ..."
_EPOCH = "names one run of the aggregator's state; sequences compare only within one epoch"
_VWAP = "volume-weighted average price"
_REFUSED = "number of ticks of its time that were refused"
_COVERAGES = ((1, "no_feed"), (2, "partial"), (3, "full"))

# What every candle keeps: the numbers of some trades of one symbol. ``open`` and ``close`` go by
# (exchange time, sequence). The sum of price x volume has its rounding error beside it (Neumaier).
CANDLE_FIELDS = (
    Field(name="open", kind=Kind.REAL, json="open", candle=True, stored=True, nullable=True),
    Field(name="high", kind=Kind.REAL, json="high", candle=True, stored=True, nullable=True),
    Field(name="low", kind=Kind.REAL, json="low", candle=True, stored=True, nullable=True),
    Field(name="close", kind=Kind.REAL, json="close", candle=True, stored=True, nullable=True),
    Field(name="volume", kind=Kind.SIZE, json="volume", candle=True, stored=True),
    # The volume, and the notional, count 10^-volume_decimals.
    Field(name="volume_decimals", kind=Kind.NUMBER, candle=True, stored=True),
    Field(
        name="trades",
        kind=Kind.COUNT,
        json="trades",
        candle=True,
        stored=True,
        description="number of trades",
    ),
    Field(name="notional", kind=Kind.REAL, message="-", candle=True, stored=True),
    Field(name="notional_error", kind=Kind.REAL, message="-", candle=True, stored=True),
    Field(name="first_ts", kind=Kind.TIME, message="first_timestamp", candle=True, stored=True),
    Field(name="first_sequence", kind=Kind.COUNT, message="-", candle=True, stored=True),
    Field(name="last_ts", kind=Kind.TIME, message="last_timestamp", candle=True, stored=True),
    Field(name="last_sequence", kind=Kind.COUNT, message="-", candle=True, stored=True),
)
# Computed from a candle where it is shown.
VWAP = Field(name="vwap", kind=Kind.REAL, json="vwap", nullable=True, description=_VWAP)

BAR_FIELDS = (
    Field(name="symbol", kind=Kind.TEXT, json="symbol", stored=True),
    Field(name="interval", kind=Kind.TEXT, json="interval", stored=True),
    Field(
        name="start",
        kind=Kind.TIME,
        json="start",
        stored=True,
        description="start of the bar",
    ),
    Field(
        name="end",
        kind=Kind.TIME,
        json="end",
        stored=True,
        description="end of the bar; of tick, volume and notional bars the time of the last trade",
    ),
    *CANDLE_FIELDS,
    VWAP,
    Field(
        name="state",
        kind=Kind.CHOICE,
        json="state",
        stored=True,
        choices=((1, "partial"), (2, "early"), (3, "final"), (4, "revised")),
        description="partial: its end has not passed; early: its grace has not; revised: a late "
        "tick changed it after it was final",
    ),
    Field(
        name="revision",
        kind=Kind.NUMBER,
        json="revision",
        stored=True,
        description="how often it changed after it was final",
    ),
    Field(
        name="complete",
        kind=Kind.FLAG,
        message="-",
        json="complete",
        description="whether coverage is full and no tick of its time was refused",
    ),
    Field(
        name="coverage",
        kind=Kind.CHOICE,
        json="coverage",
        stored=True,
        choices=_COVERAGES,
        description="for how much of its time a producer was connected",
    ),
    Field(name="refused", kind=Kind.COUNT, json="refused", stored=True, description=_REFUSED),
    Field(
        name="filler",
        kind=Kind.CHOICE,
        json="filler",
        nullable=True,
        choices=((1, "no_trades"), (2, "no_feed"), (3, "refused")),
        description="why it has no trades of its own; null: it has",
    ),
    Field(
        name="phase",
        kind=Kind.TEXT,
        json="phase",
        stored=True,
        nullable=True,
        description="pre, regular, post or closed, where the symbol has a calendar",
    ),
    Field(
        name="number",
        kind=Kind.NUMBER,
        json="number",
        stored=True,
        description="tells tick, volume and notional bars of the same start apart",
    ),
    Field(name="sequence", kind=Kind.POSITION, json="sequence", description=_SEQUENCE_OF_STATES),
    Field(name="epoch", kind=Kind.POSITION, json="epoch", description=_EPOCH),
)

# The aggregate has the candle's numbers, but no first trade, and calls the time of its close
# ``timestamp``. All but the symbol is null while nothing is known.
_AGGREGATE_PRICES = CANDLE_FIELDS[:4]
AGGREGATE_FIELDS = (
    Field(name="symbol", kind=Kind.TEXT, json="symbol"),
    *_AGGREGATE_PRICES,
    Field(name="volume", kind=Kind.SIZE, json="volume", nullable=True),
    Field(name="volume_decimals", kind=Kind.NUMBER),
    Field(
        name="last_ts",
        kind=Kind.TIME,
        message="timestamp",
        json="timestamp",
        nullable=True,
        description="exchange time of close",
    ),
    Field(
        name="trades",
        kind=Kind.COUNT,
        json="trades",
        nullable=True,
        description="trades of the session",
    ),
    VWAP,
    Field(name="session_start", kind=Kind.TIME),
    Field(
        name="complete",
        kind=Kind.FLAG,
        message="-",
        json="complete",
        nullable=True,
        description="whether coverage is full and no tick of its time was refused",
    ),
    Field(
        name="coverage",
        kind=Kind.CHOICE,
        json="coverage",
        nullable=True,
        choices=_COVERAGES,
        description="for how much of the session, so far, a producer was connected",
    ),
    Field(name="refused", kind=Kind.COUNT, json="refused", nullable=True, description=_REFUSED),
    Field(
        name="sequence",
        kind=Kind.POSITION,
        json="sequence",
        nullable=True,
        description=_SEQUENCE_OF_STATES,
    ),
    Field(name="epoch", kind=Kind.POSITION, json="epoch", nullable=True, description=_EPOCH),
)
