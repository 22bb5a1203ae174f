"""What a stream gives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, TypeVar

from marketdata.client.rows import Aggregate, Bar
from marketdata.client.times import to_datetime

Data = TypeVar("Data", Aggregate, Bar)
Policy = Literal["conflate", "buffer"]
# ``connection``: there is none, or nothing was heard. ``feed``: the gateway has lost its source.
StaleReason = Literal["connection", "feed"]


@dataclass(frozen=True, slots=True)
class Gap:
    """States that were lost before the update that follows.

    ``missed`` is how many; None: that is not known.
    """

    symbol: str
    missed: int | None


@dataclass(frozen=True, slots=True)
class Update(Generic[Data]):
    """A new state of a symbol, or of one of its bars.

    Attributes:
        data: the state.
        conflated: how many states were left out before this one, because a newer one was there.
        recovered: after a reconnect; True: nothing is missing, False: what was missed is not known.
        gap: what was lost before this update; None: nothing.
    """

    data: Data
    conflated: int = 0
    recovered: bool | None = None
    gap: Gap | None = None


@dataclass(frozen=True, slots=True)
class IntervalComplete:
    """Every bar that ends there, of all symbols, has come."""

    interval: str
    end_ns: int

    @property
    def end(self) -> datetime:
        """Return the end of the bars."""
        return to_datetime(self.end_ns)


@dataclass(frozen=True, slots=True)
class Stale:
    """From now on the last states may be old; ``problem`` explains it."""

    reason: StaleReason
    problem: str


@dataclass(frozen=True, slots=True)
class Live:
    """The last states are current again; also the first time."""


Event = Update[Data] | Gap | IntervalComplete | Stale | Live
