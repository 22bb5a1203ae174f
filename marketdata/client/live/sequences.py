"""Where a stream is in the states of each symbol: no state twice, and no gap untold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from marketdata.client.live.events import Gap


class Place(NamedTuple):
    """A state of a symbol."""

    epoch: int
    sequence: int


class Sequences:
    """The last state of each symbol that was seen."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        # The epoch of the newest update.
        self._epoch = 0
        # Symbols whose next state begins anew, so that it does not say what is missing.
        self._unsure: set[str] = set()

    def take(
        self, symbol: str, place: Place, *, recovered: bool | None, conflated: int | None
    ) -> tuple[bool, Gap | None]:
        """Count a state as seen; return whether it is new, and what is missing before it.

        ``conflated``: how many states were left out on purpose; None: that is not counted, and only
        the gateway knows of a gap.
        """
        last = self._places.get(symbol)
        if last is not None and last.epoch == place.epoch and place.sequence <= last.sequence:
            return False, None
        self._places[symbol] = place
        self._epoch = place.epoch
        unsure = symbol in self._unsure
        self._unsure.discard(symbol)
        if last is None or recovered is True:
            return True, None
        if recovered is False or last.epoch != place.epoch:
            return True, Gap(symbol, None)
        missed = place.sequence - last.sequence - 1 - (conflated or 0)
        if missed <= 0 or (conflated is None and not unsure):
            return True, None
        return True, Gap(symbol, None if conflated is None else missed)

    def begin_anew(self) -> None:
        """Note that a new connection begins with present states, whatever was missed."""
        self._unsure.update(self._places)

    def resume(self, symbols: Iterable[str] | None, limit: int) -> Mapping[str, Any] | None:
        """Return what to send to resume ``symbols`` (None: all).

        None: nothing is known, or it is more than ``limit`` symbols; then each begins with its
        present state.
        """
        sequences = {
            symbol: str(place.sequence)
            for symbol in (self._places if symbols is None else symbols)
            # What was seen last in an earlier epoch has nothing to continue.
            if (place := self._places.get(symbol)) is not None and place.epoch == self._epoch
        }
        if not 0 < len(sequences) <= limit:
            return None
        return {"epoch": str(self._epoch), "sequences": sequences}
