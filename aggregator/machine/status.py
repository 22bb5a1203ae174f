"""Say how the tick log is."""

from __future__ import annotations

from aggregator.machine.checkpointer import Checkpointer
from aggregator.ticklog.log import TickLog
from marketdata.wire.market_data_pb2 import LogStatus

OK, OFF, DISK_FULL, FAILING = "ok", "off", "disk full", "failing"


def log_status(tick_log: TickLog | None, checkpointer: Checkpointer | None) -> LogStatus:
    """Return the status of a log; None: there is none."""
    if tick_log is None:
        return LogStatus(state=OFF)
    problem = tick_log.problem
    saved = checkpointer.saved if checkpointer is not None else None
    return LogStatus(
        state=_state(problem),
        problem="" if _state(problem) == problem else problem,
        first_offset=tick_log.first_offset,
        next_offset=tick_log.next_offset,
        waiting_bytes=tick_log.waiting_bytes,
        unsynced_bytes=tick_log.unsynced_bytes,
        checkpoint_offset=saved.offset if saved else 0,
        checkpoint_time=saved.time_ns if saved else 0,
    )


def _state(problem: str) -> str:
    if not problem:
        return OK
    return DISK_FULL if problem == DISK_FULL else FAILING
