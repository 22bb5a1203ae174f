"""Read everything that an aggregator knows, so that two runs can be compared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from marketdata.wire import market_data_pb2 as wire

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

_PAGE = 5_000

#: What is known, by a name that says what it is.
Outcome = dict[str, str]


class Difference(NamedTuple):
    """One thing that two runs do not agree on."""

    name: str
    expected: str | None
    found: str | None


async def read_outcome(
    stub: MarketDataServiceAsyncStub, symbols: list[str], *, sequences: bool
) -> Outcome:
    """Return the aggregates and all bars, without the epoch.

    Args:
        stub: asks the aggregator.
        symbols: which.
        sequences: whether the numbers of states belong to it.
    """
    outcome: Outcome = {}
    status = await stub.GetStatus(wire.StatusRequest())
    for symbol in symbols:
        state = await stub.GetAggregate(wire.AggregateRequest(symbol=symbol))
        outcome[f"{symbol} aggregate"] = _describe(state, sequences=sequences)
        for interval in status.intervals:
            async for bar in _bars(stub, symbol, interval):
                name = f"{symbol} {interval} {bar.start} {bar.number}"
                # Those that the store alone has were published in some epoch, with a sequence that
                # the store does not keep.
                outcome[name] = _describe(bar, sequences=False)
    return outcome


def compare(expected: Outcome, found: Outcome) -> list[Difference]:
    """Return what is not the same in two runs."""
    return [
        Difference(name, expected.get(name), found.get(name))
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    ]


async def count_in_bars(stub: MarketDataServiceAsyncStub, symbol: str, interval: str) -> int:
    """Return how many trades the bars of a symbol have, with the open one."""
    return sum([bar.trades async for bar in _bars(stub, symbol, interval)])


async def _bars(
    stub: MarketDataServiceAsyncStub, symbol: str, interval: str
) -> AsyncIterator[wire.Bar]:
    cursor = ""
    while True:
        request = wire.BarsRequest(
            symbol=symbol,
            interval=interval,
            limit=_PAGE,
            cursor=cursor,
            include_partial=True,
        )
        setattr(request, "from", 0)
        answer = await stub.GetBars(request)
        for bar in answer.bars:
            yield bar
        cursor = answer.next_cursor
        if not cursor:
            return


def _describe(message: wire.Aggregate | wire.Bar, *, sequences: bool) -> str:
    message.ClearField("epoch")
    if not sequences:
        message.ClearField("sequence")
    return str(message).replace("\n", " ")
