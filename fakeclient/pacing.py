"""Plan when ticks are sent, in seconds since the start; infinite speed means at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from math import inf
from typing import NamedTuple

from fakeclient.packing import Packer, Parcels
from fakeclient.ticks import MAX_GROUP
from fakeclient.walk import RandomWalk
from marketdata.files.trades import Trade
from marketdata.timestamps import NS_PER_S, to_nanoseconds

# Ticks that are due within this time are sent together: it still looks live, and 200 writes per
# second cost next to nothing.
GROUP_S = 0.005

_FIRST_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 2.0


class Load(NamedTuple):
    """Some ticks to send together."""

    due_s: float
    ticks: int
    # Encodes them. Called when they are due with the wall clock in ns, because live ticks carry the
    # time at which they are sent.
    pack: Callable[[int], Parcels]


def walk_loads(
    walk: RandomWalk, packer: Packer, rate: float, sizes: Iterable[int]
) -> Iterator[Load]:
    """Return the ticks of ``walk`` in groups of ``sizes``, at ``rate`` ticks per second."""
    total = 0
    for size in sizes:
        total += size

        def pack(now_ns: int, size: int = size) -> Parcels:
            return packer.pack(walk.take(size, now_ns))

        # A group is sent when its last tick is due, so n ticks take n / rate seconds.
        yield Load(total / rate, size, pack)


def group_sizes(rate: float, limit: int | None) -> Iterator[int]:
    """Return how many ticks leave together at ``rate``, ``limit`` in total."""
    size = int(max(1, min(MAX_GROUP, rate * GROUP_S)))
    left = limit
    while left is None or left > 0:
        group = size if left is None else min(size, left)
        yield group
        if left is not None:
            left -= group


def replay_loads(
    passes: Iterable[Iterable[Trade]], packer: Packer, speed: float, limit: int | None
) -> Iterator[Load]:
    """Return the trades of each pass, spaced as they were, ``speed`` times as fast.

    The next pass begins when the previous one has ended. An error in a row is raised after the rows
    before it were returned.
    """
    start_s, left = 0.0, limit
    for rows in passes:
        due_s = start_s
        for due_s, group in _groups(islice(rows, left), speed, start_s):

            def pack(_now_ns: int, group: Sequence[Trade] = group) -> Parcels:
                return packer.pack_trades(group)

            yield Load(due_s, len(group), pack)
            if left is not None:
                left -= len(group)
        if left == 0:
            return
        start_s = due_s


def _groups(
    rows: Iterable[Trade], speed: float, start_s: float
) -> Iterator[tuple[float, list[Trade]]]:
    group: list[Trade] = []
    first_ns: int | None = None
    group_s = due_s = start_s
    try:
        for row in rows:
            # Only for the pace: the server converts the timestamps itself, and refuses one that is
            # not a time.
            if speed != inf and (ts_ns := to_nanoseconds(row[3], "auto")):
                if first_ns is None:
                    first_ns = ts_ns
                # Never back in time: a late trade is sent with the one before it.
                row_s = max(due_s, start_s + (ts_ns - first_ns) / NS_PER_S / speed)
                if group and row_s - group_s > GROUP_S:
                    yield due_s, group
                    group = []
                if not group:
                    group_s = row_s
                due_s = row_s
            group.append(row)
            if len(group) == MAX_GROUP:
                yield due_s, group
                group = []
    except Exception:
        if group:
            yield due_s, group
        raise
    if group:
        yield due_s, group


def repeat(loads: Sequence[Load], limit: int | None) -> Iterator[Load]:
    """Return ``loads`` over and over, until ``limit`` ticks are reached."""
    total = 0
    period_s = loads[-1].due_s if loads else 0.0
    for turn in count():
        for load in loads:
            if limit is not None and total >= limit:
                return
            total += load.ticks
            yield load._replace(due_s=load.due_s + turn * period_s)
        if not total:
            return


def backoff_s(attempt: int, chance: float) -> float:
    """Return how long to wait after failed attempt 0, 1, 2, ...

    Doubles up to two seconds, and varies by a half so that many clients do not come back at once.

    Args:
        attempt: how many attempts failed before this one.
        chance: a random number from 0 to 1.
    """
    longest = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(attempt, 10))
    return longest * (0.5 + chance / 2)
