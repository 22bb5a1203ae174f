"""The table from our errors to gRPC's status codes."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from aggregator.history.query import InvalidBars
from aggregator.producers.numbering import InvalidBatch
from aggregator.rpc.calls import ShuttingDown
from aggregator.rpc.malformed import MalformedMessage
from aggregator.rpc.symbols import TooManyAsked
from aggregator.store.store import StoreUnavailable
from aggregator.views.views import UnknownView
from aggregator.watch.bar_queue import TooManyBarsWait
from aggregator.watch.bar_watchers import TooManyTopics
from aggregator.watch.streams import CannotResume
from aggregator.watch.watcher import TakenOver
from aggregator.watch.watchers import TooManyWatched
from marketdata.errors import InvalidSymbol, MarketDataError
from marketdata.intervals import InvalidInterval

Context = grpc.aio.ServicerContext[Any, Any]


class SymbolHasNoData(MarketDataError):
    """No tick of the symbol has arrived yet."""

    def __init__(self, symbol: str, similar: str = "") -> None:
        hint = f"; did you mean {similar}?" if similar else ""
        super().__init__(f"no data for symbol {symbol}{hint}")


STATUS_CODES: dict[type[MarketDataError], grpc.StatusCode] = {
    InvalidSymbol: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidBatch: grpc.StatusCode.INVALID_ARGUMENT,
    TooManyAsked: grpc.StatusCode.INVALID_ARGUMENT,
    SymbolHasNoData: grpc.StatusCode.NOT_FOUND,
    InvalidInterval: grpc.StatusCode.INVALID_ARGUMENT,
    TooManyWatched: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyTopics: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyBarsWait: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CannotResume: grpc.StatusCode.OUT_OF_RANGE,
    TakenOver: grpc.StatusCode.ABORTED,
    InvalidBars: grpc.StatusCode.INVALID_ARGUMENT,
    # Not UNAVAILABLE: only the store fails, and an immediate retry would not help.
    StoreUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    UnknownView: grpc.StatusCode.INVALID_ARGUMENT,
    MalformedMessage: grpc.StatusCode.INVALID_ARGUMENT,
    ShuttingDown: grpc.StatusCode.UNAVAILABLE,
}


async def abort(context: Context, error: MarketDataError) -> NoReturn:
    """End a call with the status of an error."""
    await context.abort(STATUS_CODES[type(error)], str(error))
    raise AssertionError("abort raises")
