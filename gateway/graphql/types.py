"""The types of the GraphQL schema; those of aggregates and bars follow from the table of fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeVar

import strawberry

from gateway.encoding import AGGREGATE_COLUMNS, BAR_COLUMNS, describe
from marketdata.fields import Kind, PublicColumn

T = TypeVar("T")

_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.CHOICE: str,
    Kind.REAL: float,
    Kind.COUNT: str,
    Kind.SIZE: str,
    Kind.POSITION: str,
    Kind.TIME: str,
    Kind.NUMBER: int,
    Kind.FLAG: bool,
}


def json_object(
    columns: Sequence[PublicColumn], description: str, *, all_nullable: bool = False
) -> Callable[[type[T]], type[T]]:
    """Return a decorator that makes a class the GraphQL type of a JSON object."""

    def decorate(cls: type[T]) -> type[T]:
        for column in columns:
            kind = _TYPES[column.field.kind]
            is_nullable = all_nullable or column.field.nullable
            cls.__annotations__[column.name] = kind | None if is_nullable else kind
            words = ", ".join(word for _, word in column.field.choices)
            text = "; ".join(filter(None, (words, describe(column)))) or None
            setattr(cls, column.name, strawberry.field(description=text))
        return strawberry.type(cls, description=description)

    return decorate


# The original's schema lets every field of an aggregate be null.
@json_object(
    AGGREGATE_COLUMNS,
    "The state of one symbol in its session. 64-bit integers are decimal strings. "
    "All but the symbol is null while the aggregator does not answer and nothing is known.",
    all_nullable=True,
)
class Aggregate:
    """The fields are the keys of the JSON of every endpoint."""


@strawberry.type(description="Some of the symbols there is data for, in byte order.")
class SymbolPage:
    """A page of symbols."""

    symbols: list[str]
    nextCursor: str | None = strawberry.field(  # noqa: N815  the name on the wire
        description="pass it as cursor to continue; null when there are no more"
    )


@json_object(
    BAR_COLUMNS,
    "What was traded of one symbol with start <= exchange time < end. 64-bit integers are decimal "
    "strings.",
)
class Bar:
    """The fields are the keys of the JSON of every endpoint."""


@strawberry.type(description="A bar, and where it is among the others.")
class BarEdge:
    """As Relay has it."""

    cursor: str
    node: Bar


@strawberry.type(description="Where a page is among the others.")
class PageInfo:
    """As Relay has it."""

    hasNextPage: bool  # noqa: N815  the name on the wire
    hasPreviousPage: bool  # noqa: N815  the name on the wire
    startCursor: str | None  # noqa: N815  the name on the wire
    endCursor: str | None  # noqa: N815  the name on the wire


@strawberry.type(description="A page of bars, by start and then number.")
class BarConnection:
    """As Relay has it."""

    edges: list[BarEdge]
    pageInfo: PageInfo  # noqa: N815  the name on the wire


@strawberry.enum(name="Fill", description="What stands for intervals without a trade.")
class FillWith(Enum):
    """The fills of a query for bars."""

    NONE = strawberry.enum_value("none", description="nothing")
    PREV = strawberry.enum_value("prev", description="a bar at the close of the one before it")
    NULL = strawberry.enum_value("null", description="a bar without prices")


@strawberry.enum(description="What happens while a subscriber reads too slowly.")
class Policy(Enum):
    """The hub's policies."""

    CONFLATE = strawberry.enum_value(
        "conflate", description="only the newest state per symbol waits"
    )
    BUFFER = strawberry.enum_value(
        "buffer", description="every state waits, up to a bound; then the subscription ends"
    )


@strawberry.input(description="The last sequence that was seen of a symbol.")
class LastSequence:
    """Where a subscriber left off with one symbol."""

    symbol: str
    sequence: str


@strawberry.input(
    description="Where a subscriber left off. extensions.recovered says whether all it missed came."
)
class Resume:
    """Where a subscriber left off."""

    epoch: str
    lastSequences: list[LastSequence]  # noqa: N815  the name on the wire
