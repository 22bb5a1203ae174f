"""Read a log that another process may be writing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

from aggregator.ticklog.checkpoints import CheckpointFiles
from aggregator.ticklog.errors import LogUnusable, OffsetGone
from aggregator.ticklog.file_log import log_skipped
from aggregator.ticklog.health import describe
from aggregator.ticklog.log import Buffer, Checkpoint, Record
from aggregator.ticklog.opening import next_offset_after
from aggregator.ticklog.reading import OnSkip, read_segments
from aggregator.ticklog.release import RELEASE
from aggregator.ticklog.segment import list_segments, offset_of


class ReadonlyLog:
    """The records of a log as they are now, and its checkpoints, which may also be saved."""

    def __init__(self, directory: Path, on_skip: OnSkip | None = None) -> None:
        self._directory = directory
        self._on_skip = on_skip
        self._checkpoints = CheckpointFiles(directory, RELEASE)
        self._segments()

    @property
    def first_offset(self) -> int:
        """The offset of the oldest record that is kept."""
        segments = self._segments()
        return offset_of(segments[0]) if segments else 0

    @property
    def next_offset(self) -> int:
        """The offset after the last record that is written."""
        segments = self._segments()
        return next_offset_after(segments[-1]) if segments else 0

    def read_from(self, offset: int) -> Iterator[Record]:
        """Give the records from ``offset`` to the last that is written.

        Raises:
            OffsetGone: the record was truncated.
            CorruptRecord: a record in the middle is damaged.
        """
        segments = self._segments()
        first = offset_of(segments[0]) if segments else 0
        if offset < first:
            raise OffsetGone(offset, first)
        index = bisect_right(segments, offset, key=offset_of) - 1
        return read_segments(segments[max(index, 0) :], offset, on_skip=self._on_skip)

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints that are whole, the newest first."""
        return self._checkpoints.whole()

    def load_checkpoint(self, offset: int) -> bytes:
        """Return the content of a checkpoint."""
        return self._checkpoints.load(offset)

    def save_checkpoint(self, checkpoint: Checkpoint, content: Iterable[Buffer]) -> None:
        """Store a checkpoint; blocks."""
        self._checkpoints.save(checkpoint, content)

    def _segments(self) -> list[Path]:
        try:
            return list_segments(self._directory)
        except OSError as exc:
            raise LogUnusable(self._directory, describe(exc)) from exc


def open_readonly(
    directory: Path, *, skip_corrupt: bool = False, on_skip: OnSkip | None = None
) -> ReadonlyLog:
    """Open a log for reading, without its lock.

    Args:
        directory: of the log.
        skip_corrupt: leave damaged records out instead of raising CorruptRecord.
        on_skip: hears of each damaged part in place of the log.

    Raises:
        LogUnusable: there is no such directory, or it cannot be read.
    """
    return ReadonlyLog(directory, on_skip or (log_skipped if skip_corrupt else None))
