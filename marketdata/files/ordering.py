"""Read several files as one, in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush

from marketdata.files.trades import Trade
from marketdata.timestamps import to_nanoseconds

# Opens a file; for True only its first trade is asked for, and it is opened again later.
OpenTrades = Callable[[bool], Iterator[Trade]]


def in_time_order(files: Sequence[OpenTrades]) -> Iterator[Trade]:
    """Return the trades of all files in the order of time.

    A file is opened when its first trade is due, so that a year of files needs few of them open. A
    trade that is late in its own file is returned with the one before it.
    """
    if len(files) == 1:
        yield from files[0](False)
        return
    waiting: list[tuple[int, int, Iterator[Trade] | None, Trade | None]] = []
    for number, opened in enumerate(files):
        if (first := next(opened(True), None)) is not None:
            waiting.append((_time(first), number, None, None))
    heapify(waiting)
    while waiting:
        time, number, rows, trade = heappop(waiting)
        if rows is None:
            rows = files[number](False)
            trade = next(rows, None)
        while trade is not None:
            yield trade
            trade = next(rows, None)
            if trade is not None and waiting and (time := max(time, _time(trade))) > waiting[0][0]:
                heappush(waiting, (time, number, rows, trade))
                break


def _time(trade: Trade) -> int:
    return to_nanoseconds(trade[3], "auto")
