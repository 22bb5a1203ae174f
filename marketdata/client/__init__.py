"""Read market data from a gateway: aggregates, bars and live streams in, Python objects out.

::

    from marketdata.client import Client

    client = Client("http://localhost:8080")
    frame = client.bars("AAPL", "1m", limit=100).to_pandas()

:class:`AsyncClient` is the same for programs with asyncio. docs/python-client.md is the guide.
"""

from marketdata.client.asynchronous import AsyncClient
from marketdata.client.bars import Bars
from marketdata.client.errors import (
    AccessRefused,
    AggregatorUnavailable,
    CannotConnect,
    ClientClosed,
    ClientError,
    DeadlineExceeded,
    FieldProblem,
    GatewayError,
    HistoryTooLong,
    InternalError,
    InvalidArgument,
    InvalidInput,
    MissingExtra,
    NotFound,
    RateLimited,
    TooManyClients,
    TooManySymbols,
    UnexpectedAnswer,
    UnknownSymbol,
)
from marketdata.client.live.events import Event, Gap, IntervalComplete, Live, Stale, Update
from marketdata.client.live.streams import AsyncStream, Stream
from marketdata.client.rows import Aggregate, Bar
from marketdata.client.synchronous import Client

__all__ = [
    "AccessRefused",
    "Aggregate",
    "AggregatorUnavailable",
    "AsyncClient",
    "AsyncStream",
    "Bar",
    "Bars",
    "CannotConnect",
    "Client",
    "ClientClosed",
    "ClientError",
    "DeadlineExceeded",
    "Event",
    "FieldProblem",
    "Gap",
    "GatewayError",
    "HistoryTooLong",
    "InternalError",
    "IntervalComplete",
    "InvalidArgument",
    "InvalidInput",
    "Live",
    "MissingExtra",
    "NotFound",
    "RateLimited",
    "Stale",
    "Stream",
    "TooManyClients",
    "TooManySymbols",
    "UnexpectedAnswer",
    "UnknownSymbol",
    "Update",
]
