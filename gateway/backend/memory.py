"""Remember the last known value of each symbol, within a bound."""

from __future__ import annotations

from collections import OrderedDict

from gateway.kernel.encoder import EncodedState


class LastValues:
    """Hold the newest state of at most ``limit`` symbols; time is an argument, in seconds.

    At the bound the symbol remembered longest ago is forgotten. 100,000 symbols are about 75 MB.

    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[str, tuple[EncodedState, float]] = OrderedDict()

    def remember(self, state: EncodedState, now: float) -> None:
        """Take the state as the last known one, unless a newer is known."""
        symbol = state.symbol.decode()
        known = self._values.get(symbol)
        if known is not None and _is_newer(known[0], state):
            # Answers may overtake each other.
            return
        self._values[symbol] = (state, now)
        self._values.move_to_end(symbol)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)

    def recall(self, symbol: str, now: float) -> tuple[EncodedState, float] | None:
        """Return the last known state and its age in seconds."""
        known = self._values.get(symbol)
        if known is None:
            return None
        state, since = known
        return state, now - since


def _is_newer(known: EncodedState, state: EncodedState) -> bool:
    return known.epoch == state.epoch and known.sequence > state.sequence
