"""Know the times whose ticks a producer sent and we did not get."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from aggregator.coverage.spans import Span, Spans
from aggregator.wire.batch import Batch

MAX_GAPS = 10_000
# Beyond, the producer that was silent for longest is forgotten.
MAX_PRODUCERS = 10_000


class Gaps:
    """The times around skipped sequences, which no feed covers.

    The exchange times of the missing ticks are not known. A gap is the time between the latest tick
    before them and the first one after them.
    """

    def __init__(self) -> None:
        self._spans = Spans(MAX_GAPS)
        # By producer id: its last sequence and the latest exchange time up to it.
        self._producers: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def note(self, batch: Batch, times: tuple[int, int] | None) -> bool:
        """Note a batch of a producer; return whether sequences are missing before it.

        Args:
            batch: the batch.
            times: its earliest and its latest valid exchange time, None: it has none.
        """
        known = self._producers.get(batch.producer_id)
        last, latest_ts = known or (0, 0)
        is_gap = known is not None and batch.first_sequence > last + 1
        if not batch.count or (is_gap and times is None):
            # The next batch with times ends the gap.
            return False
        if times is not None:
            if is_gap:
                first_ts = min(max(int(batch.times[0]), times[0]), times[1])
                before = latest_ts or first_ts
                self._spans.add(min(before, first_ts), max(before, first_ts) + 1)
            latest_ts = max(latest_ts, times[1])
        last = max(last, batch.first_sequence + batch.count - 1)
        self._producers[batch.producer_id] = last, latest_ts
        self._producers.move_to_end(batch.producer_id)
        if len(self._producers) > MAX_PRODUCERS:
            self._producers.popitem(last=False)
        return is_gap

    def latest_before(self, batch: Batch) -> int:
        """Return the latest exchange time of its producer; 0: unknown, or sequences are missing."""
        last, latest_ts = self._producers.get(batch.producer_id, (0, 0))
        return latest_ts if batch.first_sequence <= last + 1 else 0

    def touch(self, start: int, end: int) -> bool:
        """Return whether ticks of start <= time < end may be missing."""
        return self._spans.touches(start, end)

    def all(self) -> list[Span]:
        """Return all gaps, the earliest first."""
        return self._spans.all()

    def dump_state(self) -> dict[str, Any]:
        """Return the gaps, and where each producer is."""
        return {
            "spans": self._spans.dump_state(),
            "producers": [[name, *known] for name, known in self._producers.items()],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was."""
        self._spans.load_state(state["spans"])
        self._producers = OrderedDict(
            (name, (last, latest_ts)) for name, last, latest_ts in state["producers"]
        )
