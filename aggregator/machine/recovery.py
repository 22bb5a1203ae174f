"""Find the state that a log and its checkpoints describe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog
from google.protobuf.message import DecodeError

from aggregator.bars.candle import MAX_INT64
from aggregator.checkpoint.errors import CheckpointError
from aggregator.checkpoint.format import decode
from aggregator.checkpoint.state import CoreState, load
from aggregator.machine.inputs import Batch, Start, parse_input, parse_start, read_start
from aggregator.machine.machine import Machine
from aggregator.producers.numbering import InvalidBatch
from aggregator.ticklog.errors import NoCheckpoint
from aggregator.ticklog.log import Checkpoint, Kind, Record
from marketdata.errors import StartError
from marketdata.wire.market_data_pb2 import BatchAck

log = structlog.get_logger()

# How long the event loop waits for a replay at once.
TURN_S = 0.05


class BrokenHistory(StartError):
    """The records of the log do not follow from each other as far as they must."""


class Readable(Protocol):
    """A log, as far as it is read."""

    @property
    def first_offset(self) -> int:
        """The offset of the oldest record that is kept."""

    @property
    def next_offset(self) -> int:
        """The offset after the last record."""

    def read_from(self, offset: int) -> Iterator[Record]:
        """Give the records from ``offset`` on."""

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints, the newest first."""

    def load_checkpoint(self, offset: int) -> bytes:
        """Return the content of a checkpoint."""


@dataclass(slots=True)
class Replayed:
    """What a replay applied."""

    records: int = 0
    ticks: int = 0
    # Inputs that failed for another reason than their content. They failed when they came, too.
    failed: int = 0
    seconds: float = 0.0


class Found(NamedTuple):
    """Where the history of a log can be taken up."""

    # The first record to apply; a checkpoint with the state before it is loaded if it has one.
    offset: int
    content: bytes | None
    # The newest start in it that is known without reading the records.
    start: Start


def find_history(tick_log: Readable, fingerprint: str) -> Found | None:
    """Return where to begin; None: nothing of the log fits.

    Args:
        tick_log: the log.
        fingerprint: of the settings and the release of this process.

    Raises:
        CorruptRecord: a record in the middle is damaged.
        StartError: only another release reads the checkpoints.
    """
    problems: list[CheckpointError] = []
    began_at: int | None = None
    for checkpoint in tick_log.checkpoints():
        try:
            content = tick_log.load_checkpoint(checkpoint.offset)
            start = _peek(content)
        except (CheckpointError, NoCheckpoint) as exc:
            log.warning("checkpoint_not_used", offset=checkpoint.offset, problem=str(exc))
            if isinstance(exc, CheckpointError):
                problems.append(exc)
            continue
        # Those of an earlier history say nothing about the present one.
        began_at = start.began_at if began_at is None else began_at
        if (start.began_at, start.fingerprint) == (began_at, fingerprint):
            return Found(checkpoint.offset, content, start)
    if tick_log.next_offset == tick_log.first_offset:
        return None
    newest = _newest_start(tick_log)
    if newest is not None and newest.began_empty and newest.began_at >= tick_log.first_offset:
        return Found(newest.began_at, None, newest)
    if problems and (newest is None or newest.fingerprint == fingerprint):
        # Here data would be lost that another release, or a repair, still brings back.
        raise StartError(f"tick log: {problems[0]}") from problems[0]
    return None


def find_beginning(tick_log: Readable, fingerprint: str) -> Found | None:
    """Return where the log's newest history begins, or its oldest checkpoint.

    None: neither is there, or the checkpoints are of other settings.

    Raises:
        CorruptRecord: a record in the middle is damaged.
    """
    newest = _newest_start(tick_log)
    if newest is None:
        return None
    if newest.began_empty and newest.began_at >= tick_log.first_offset:
        return Found(newest.began_at, None, newest)
    for checkpoint in reversed(tick_log.checkpoints()):
        content = tick_log.load_checkpoint(checkpoint.offset)
        start = _peek(content)
        if (start.began_at, start.fingerprint) == (newest.began_at, fingerprint):
            return Found(checkpoint.offset, content, start)
    return None


def _peek(content: bytes) -> Start:
    return read_start(decode(content)["parts"]["machine"]["started"])


def _newest_start(tick_log: Readable) -> Start | None:
    newest: Start | None = None
    for record in tick_log.read_from(tick_log.first_offset):
        if record.kind is Kind.START:
            newest = parse_start(record.payload)
    return newest


async def recover(
    tick_log: Readable,
    found: Found,
    machine: Machine,
    state: CoreState,
    *,
    until: int = MAX_INT64,
    wait_for_room: Callable[[], Awaitable[None]] | None = None,
) -> Replayed:
    """Take up a history: load its checkpoint, and apply the records after it.

    Args:
        tick_log: the log.
        found: where to begin.
        machine: applies the records; it has had no input.
        state: the parts of the machine.
        until: the first record that is left out.
        wait_for_room: waits until there is room for the bars that more records close.

    Raises:
        BrokenHistory: a record begins another history.
        CorruptRecord: a record is damaged.
        StateMismatch: the checkpoint has other records than this release.
    """
    if found.content is not None:
        load(found.content, state)
    replay = Replay(machine, found.offset)
    turn_ends = time.monotonic() + TURN_S
    for record in tick_log.read_from(found.offset):
        if record.offset >= until:
            break
        replay.apply(record.kind, record.offset, record.time_ns, record.payload)
        if time.monotonic() > turn_ends:
            if wait_for_room is not None:
                await wait_for_room()
            await asyncio.sleep(0)
            turn_ends = time.monotonic() + TURN_S
    return replay.finish()


class Replay:
    """Apply records that were applied before.

    Args:
        machine: applies them.
        begins_at: the offset of the first one.
    """

    def __init__(self, machine: Machine, begins_at: int) -> None:
        self._machine = machine
        self._begins_at = begins_at
        self._began = time.monotonic()
        self._done = Replayed()

    def apply(self, kind: Kind, offset: int, time_ns: int, payload: bytes) -> None:
        """Apply one record.

        Raises:
            BrokenHistory: it begins another history.
        """
        done = self._done
        done.records += 1
        each = parse_input(kind, payload)
        if isinstance(each, Start) and each.began_at == offset > self._begins_at:
            raise BrokenHistory(
                f"tick log: record {offset} begins with a state that no valid checkpoint has; "
                "restore the checkpoint, or move the directory away to start without the log"
            )
        try:
            result = self._machine.apply(each, offset, time_ns)
        except (DecodeError, InvalidBatch):
            # Its sender got the error when it came.
            return
        except Exception:
            # It failed like this when it came, and changed as much.
            done.failed += 1
            log.exception("record_failed", offset=offset, kind=kind.name)
            return
        if type(each) is Batch and isinstance(result, BatchAck):
            done.ticks += result.accepted

    def finish(self) -> Replayed:
        """Return what was applied."""
        self._done.seconds = time.monotonic() - self._began
        return self._done
