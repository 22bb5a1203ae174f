"""Remember the last known value of each symbol, within a bound."""

from __future__ import annotations

from collections import OrderedDict

from marketdata.wire.market_data_pb2 import Aggregate


class LastValues:
    """Hold the newest aggregate of at most ``limit`` symbols; time is an argument, in seconds.

    At the bound the symbol remembered longest ago is forgotten. 100,000 symbols are about 75 MB.

    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[str, tuple[Aggregate, float]] = OrderedDict()

    def remember(self, aggregate: Aggregate, now: float) -> None:
        """Take the aggregate as the last known one, unless a newer is known."""
        known = self._values.get(aggregate.symbol)
        if known is not None and _is_newer(known[0], aggregate):
            # Answers may overtake each other.
            return
        # A copy: a message taken out of a list keeps the memory of the whole list alive.
        copy = Aggregate()
        copy.CopyFrom(aggregate)
        self._values[aggregate.symbol] = (copy, now)
        self._values.move_to_end(aggregate.symbol)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)

    def recall(self, symbol: str, now: float) -> tuple[Aggregate, float] | None:
        """Return the last known aggregate and its age in seconds."""
        known = self._values.get(symbol)
        if known is None:
            return None
        aggregate, since = known
        return aggregate, now - since


def _is_newer(known: Aggregate, aggregate: Aggregate) -> bool:
    return known.epoch == aggregate.epoch and known.sequence > aggregate.sequence
