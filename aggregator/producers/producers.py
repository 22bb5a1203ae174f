"""Remember the last sequence of each producer, so that a batch sent twice changes nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any


class Producers:
    """The last sequence that was applied or rejected, by producer id.

    :attr:`gaps` counts batches that left out sequences after the last one, :attr:`forgotten` the
    producers that were removed to make room.
    """

    def __init__(self, max_producers: int) -> None:
        self._max_producers = max_producers
        self._last_sequences: OrderedDict[str, int] = OrderedDict()
        self.gaps = 0
        self.forgotten = 0

    def limit(self, max_producers: int) -> None:
        """Let another limit hold from now on."""
        self._max_producers = max_producers

    def last_sequence(self, producer_id: str) -> int:
        """Return the last sequence of ``producer_id``, 0 for an unknown one."""
        return self._last_sequences.get(producer_id, 0)

    def restore(self, last_sequences: Mapping[str, int]) -> None:
        """Take over the sequences of an earlier run; call it before the first batch."""
        self._last_sequences.update(last_sequences)

    def all(self) -> dict[str, int]:
        """Return the last sequence of each producer, that of the longest silent one first."""
        return dict(self._last_sequences)

    def advance(self, producer_id: str, first_sequence: int, count: int) -> int:
        """Note a batch and return how many of its first ticks are duplicates."""
        known = self._last_sequences.get(producer_id)
        last = first_sequence + count - 1
        if known is None:
            if len(self._last_sequences) >= self._max_producers:
                self._last_sequences.popitem(last=False)
                self.forgotten += 1
            seen = 0
        else:
            seen = min(max(known - first_sequence + 1, 0), count)
            if first_sequence > known + 1:
                self.gaps += 1
            last = max(last, known)
        self._last_sequences[producer_id] = last
        self._last_sequences.move_to_end(producer_id)
        return seen

    def dump_state(self) -> dict[str, Any]:
        """Return the sequences in their order, and the counts."""
        return {
            "last_sequences": list(self._last_sequences.items()),
            "gaps": self.gaps,
            "forgotten": self.forgotten,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was."""
        self._last_sequences = OrderedDict(state["last_sequences"])
        self.gaps = state["gaps"]
        self.forgotten = state["forgotten"]
