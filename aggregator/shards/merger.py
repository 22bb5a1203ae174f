"""Put together what the workers answer: acks of batches, ends of bars."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable

from aggregator.bars.completion import Completion
from aggregator.numbering import make_ack
from aggregator.shards.splitter import Split
from marketdata.validation import RejectReason
from marketdata.wire.market_data_pb2 import BatchAck
from marketdata.wire.shards_pb2 import Applied, Change, End, Progress


class _Step:
    # A batch that not all workers have answered.

    def __init__(self, split: Split, workers: int, tell: Callable[[BatchAck], None]) -> None:
        self.split = split
        self.tell = tell
        self.left = workers
        self.accepted = 0
        self.rejections = split.rejections
        self.changes: list[Change] = []
        self.clock = 0


class Merger:
    """Answer for all workers.

    Every worker answers every batch, in the same order. What they tell of their bars counts when
    all have come as far, so that ends are complete after the same batches as with one worker.

    :attr:`accepted` counts ticks, :attr:`rejected` by reason.
    """

    def __init__(self, workers: int, intervals: int, revise_ns: int) -> None:
        self._workers = workers
        self._intervals = intervals
        self._completion = Completion(intervals, revise_ns)
        self._clock = 0
        # What each worker has not answered yet.
        self._expected: list[deque[_Step]] = [deque() for _ in range(workers)]
        # What each worker answered last.
        self._answered: list[_Step | None] = [None] * workers
        self.accepted = 0
        self.rejected: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many batches are not answered yet."""
        return max(map(len, self._expected))

    def expect(self, split: Split, tell: Callable[[BatchAck], None]) -> None:
        """Call ``tell`` with the ack when all workers have answered; batches go out in order."""
        step = _Step(split, self._workers, tell)
        for expected in self._expected:
            expected.append(step)

    def applied(self, worker: int, applied: Applied, progress: Progress) -> list[End]:
        """Take a worker's answer to its next batch; return the ends that are complete."""
        step = self._expected[worker].popleft()
        self._answered[worker] = step
        step.accepted += applied.accepted
        reasons = map(RejectReason, applied.reasons)
        step.rejections.extend(zip(applied.sequences, reasons, strict=True))
        step.changes.extend(progress.changes)
        step.clock = max(step.clock, progress.clock)
        step.left -= 1
        return [] if step.left else self._finish(step)

    def progress(self, worker: int, progress: Progress) -> list[End]:
        """Hear what a worker did by the clock; return the ends that are complete."""
        step = self._answered[worker]
        if step is not None and step.left:
            # It follows what does not count yet.
            step.changes.extend(progress.changes)
            step.clock = max(step.clock, progress.clock)
            return []
        return self._advance(progress.changes, progress.clock)

    def _finish(self, step: _Step) -> list[End]:
        self.accepted += step.accepted
        self.rejected.update(reason for _, reason in step.rejections)
        step.rejections.sort()
        split = step.split
        step.tell(make_ack(split.last_sequence, step.accepted, split.duplicates, step.rejections))
        return self._advance(step.changes, step.clock)

    def _advance(self, changes: Iterable[Change], clock: int) -> list[End]:
        completion, found = self._completion, list[End]()
        self._clock = max(self._clock, clock)
        for change in changes:
            completion.opened(change.interval, change.end, change.opened)
            completion.closed(change.interval, change.end, change.closed)
        for interval in range(self._intervals):
            while (end := completion.next_complete(interval, self._clock)) is not None:
                found.append(End(interval=interval, end=end))
        return found
