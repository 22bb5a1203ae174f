"""The GraphQL schema: the original's queries and subscriptions, and additions."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from operator import getitem
from typing import Annotated, cast

import strawberry
from graphql import GraphQLSchema
from strawberry.schema.config import StrawberryConfig

from gateway.bars.query import BarsQuery, Fill, build_subscription, check_interval, parse_range
from gateway.bars.times import HELP
from gateway.errors import FieldError, InvalidInput
from gateway.graphql.reader import MAX_BARS, Reader
from gateway.graphql.types import (
    Aggregate,
    Bar,
    BarConnection,
    FillWith,
    Policy,
    Resume,
    SymbolPage,
)
from gateway.hub.subscription import BufferLimits
from gateway.hub.subscription import Resume as HubResume
from gateway.hub.subscription import Subscription as HubSubscription
from gateway.hub.updates import Policy as HubPolicy
from gateway.rest.inputs import parse_symbol
from gateway.rest.routes import DEFAULT_PAGE, MAX_PAGE

# All symbols, present and future.
WILDCARD = "*"

# The longest uint64; the regular expression keeps int() away from thousands of digits.
_MAX_UINT64 = 2**64 - 1
_UINT64 = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Context:
    """The context of resolvers."""

    reader: Reader
    max_symbols: int
    buffer_limits: BufferLimits


Info = strawberry.Info[Context, None]


class Feed(AsyncIterator[None]):
    """The source of a subscription operation.

    Executing a subscription normally iterates over its source. The endpoint gives
    :attr:`subscription` to the hub instead, which awaits no client and encodes once for all.

    """

    def __init__(self, subscription: HubSubscription) -> None:
        self.subscription = subscription

    async def __anext__(self) -> None:
        """End: updates do not come this way."""
        raise StopAsyncIteration


async def _market_data(info: Info, symbol: str) -> Aggregate | None:
    return cast("Aggregate | None", await info.context.reader.read(symbol))


async def _market_data_list(info: Info, symbols: list[str]) -> list[Aggregate | None] | None:
    return cast("list[Aggregate | None]", await info.context.reader.read_list(symbols))


async def _symbols(
    info: Info,
    prefix: Annotated[
        str, strawberry.argument(description="only symbols that begin so; case counts")
    ] = "",
    limit: Annotated[
        int, strawberry.argument(description=f"symbols on the page, 1 to {MAX_PAGE}")
    ] = DEFAULT_PAGE,
    cursor: Annotated[str, strawberry.argument(description="nextCursor of the page before")] = "",
) -> SymbolPage | None:
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput([FieldError("limit", f"{limit} is not between 1 and {MAX_PAGE}")])
    page = await info.context.reader.list_symbols(prefix, limit, cursor)
    document = {"symbols": list(page.symbols), "nextCursor": page.next_cursor or None}
    return cast("SymbolPage", document)


async def _bars(
    info: Info,
    *,
    symbol: str,
    interval: Annotated[
        str,
        strawberry.argument(
            description="such as 1s 1m 5m 15m 1h 1d, 3d 1w 1M 3M 1y, or 100t 10000v 1000000n"
        ),
    ],
    start: Annotated[
        str | None,
        strawberry.argument(
            name="from",
            description=f"from <= start of a bar; {HELP}. Without it: the last ones before to",
        ),
    ] = None,
    to: Annotated[
        str | None,
        strawberry.argument(description="start of a bar < to. Without it: up to the newest"),
    ] = None,
    first: Annotated[
        int, strawberry.argument(description=f"bars on the page, 1 to {MAX_BARS}")
    ] = DEFAULT_PAGE,
    after: Annotated[
        str | None, strawberry.argument(description="endCursor of the page before")
    ] = None,
    fill: FillWith = FillWith.NONE,
    include_partial: Annotated[
        bool,
        strawberry.argument(description="whether the bar that is not closed yet is among them"),
    ] = False,
) -> BarConnection | None:
    query = BarsQuery(
        parse_symbol("symbol", symbol),
        interval,
        *parse_range(interval, start=start, end=to, limit=first, limit_field="first"),
        limit=first,
        fill=Fill(cast("str", fill.value)),
        include_partial=include_partial,
    )
    page = await info.context.reader.read_bars(query, after or "")
    return cast("BarConnection | None", page)


def _follow_bars(
    info: Info,
    *,
    symbols: list[str],
    interval: str,
    since: Annotated[
        str | None,
        strawberry.argument(description=f"begin with the history from then on; {HELP}"),
    ] = None,
    policy: Policy = Policy.CONFLATE,
    resume: Resume | None = None,
) -> AsyncGenerator[Bar | None, None]:
    limit = info.context.max_symbols
    check_interval(interval)
    subscription = build_subscription(
        parse_feed_symbols(symbols, limit),
        cast("HubPolicy", policy.value),
        _parse_resume(resume, limit),
        info.context.buffer_limits,
        interval=interval,
        since=since,
    )
    return cast("AsyncGenerator[Bar | None, None]", Feed(subscription))


def _follow_market_data(
    info: Info,
    symbols: list[str],
    policy: Policy = Policy.CONFLATE,
    resume: Resume | None = None,
) -> AsyncGenerator[Aggregate | None, None]:
    limit = info.context.max_symbols
    subscription = HubSubscription(
        parse_feed_symbols(symbols, limit),
        cast("HubPolicy", policy.value),
        _parse_resume(resume, limit),
        info.context.buffer_limits,
    )
    return cast("AsyncGenerator[Aggregate | None, None]", Feed(subscription))


@strawberry.type
class Query:
    """The queries."""

    market_data: Aggregate | None = strawberry.field(
        resolver=_market_data,
        description="The state of one symbol; null if there is no data for it.",
    )
    market_data_list: list[Aggregate | None] | None = strawberry.field(
        resolver=_market_data_list,
        description="The states of several symbols in the order of the request, null where there "
        "is no data.",
    )
    bars: BarConnection | None = strawberry.field(
        resolver=_bars,
        description="The bars of one symbol, a page at a time; null if there is no data for it.",
    )
    symbols: SymbolPage | None = strawberry.field(
        resolver=_symbols, description="The symbols there is data for, a page at a time."
    )


@strawberry.type
class Subscription:
    """The subscriptions."""

    market_data: AsyncGenerator[Aggregate | None, None] = strawberry.subscription(
        resolver=_follow_market_data,
        description="The present states of symbols, then every change. Symbols need not exist "
        'yet; "*" is all of them. null: nothing is known yet.',
    )
    bars: AsyncGenerator[Bar | None, None] = strawberry.subscription(
        resolver=_follow_bars,
        description="The open bars of symbols, then every change and every bar that closes. null: "
        "nothing is known yet, or extensions.intervalComplete says that all bars that end there "
        "have come.",
    )


def build_schema() -> GraphQLSchema:
    """Return the schema."""
    schema = strawberry.Schema(
        Query,
        subscription=Subscription,
        # Aggregates and bars are the JSON objects of every endpoint.
        config=StrawberryConfig(default_resolver=getitem),
    )
    # We call graphql-core directly; documents.py and execution.py say why.
    return schema._schema


def parse_feed_symbols(symbols: list[str], limit: int) -> frozenset[str] | None:
    """Return the symbols to follow; None for all.

    Raises:
        InvalidInput: one is not a symbol, or there are none or too many.
    """
    if not 1 <= len(symbols) <= limit:
        raise InvalidInput([FieldError("symbols", f"{len(symbols)} symbols, not 1 to {limit}")])
    if WILDCARD in symbols:
        return None
    return frozenset(parse_symbol("symbols", symbol) for symbol in symbols)


def _parse_resume(resume: Resume | None, limit: int) -> HubResume | None:
    if resume is None:
        return None
    if len(resume.lastSequences) > limit:
        detail = f"{len(resume.lastSequences)} sequences, limit is {limit}"
        raise InvalidInput([FieldError("lastSequences", detail)])
    return HubResume(
        _parse_uint64("epoch", resume.epoch),
        {
            parse_symbol("lastSequences", last.symbol): _parse_uint64("sequence", last.sequence)
            for last in resume.lastSequences
        },
    )


def _parse_uint64(field: str, digits: str) -> int:
    if _UINT64.fullmatch(digits) and (number := int(digits)) <= _MAX_UINT64:
        return number
    raise InvalidInput([FieldError(field, f"not a number up to {_MAX_UINT64}")])
