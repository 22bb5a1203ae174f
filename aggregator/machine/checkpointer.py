"""Let a child process make checkpoints beside the running service, which never stops for one."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from aggregator.ticklog.log import TickLog

log = structlog.get_logger()

# What the two processes say to each other, a line each.
MADE, SAVE, SAVED = "made", "save", "saved"
# A child that needs longer, or a store that does not write for so long, ends the attempt.
TIMEOUT_S = 600.0
FIRST_RETRY_S = 10.0
MAX_RETRY_S = 600.0
# Of what a failed child says, the end is logged.
_TAIL = 500


@dataclass(frozen=True, slots=True)
class Saved:
    """The newest checkpoint."""

    offset: int
    time_ns: int


class CheckpointFailed(Exception):
    """A child made no checkpoint."""


P = TypeVar("P")


class Checkpointer:
    """Make a checkpoint whenever enough was logged since the last one.

    A child process loads the newest checkpoint and applies the records after it. Then its state is
    saved: when the store has written all bars that closed before, so that no later start needs
    these records.

    Args:
        tick_log: the log.
        position: returns the place of the newest input.
        handed: returns how many bars the store was handed so far; see ``written``.
        written: waits until the store has written, or lost, that many bars.
        env: the environment of the child.
        every_s: how long to wait at most, if there is anything.
        command: makes a checkpoint before the record whose offset is added.
    """

    def __init__(
        self,
        tick_log: TickLog,
        *,
        position: Callable[[], int],
        handed: Callable[[], int],
        written: Callable[[int], Awaitable[None]],
        env: Mapping[str, str],
        every_s: float,
        command: Sequence[str] = (sys.executable, "-m", "aggregator", "checkpoint"),
    ) -> None:
        self._log = tick_log
        self._position = position
        self._handed = handed
        self._written = written
        self._env = env
        self._every_s = every_s
        self._command = command
        self._enough = asyncio.Event()
        newest = next(iter(tick_log.checkpoints()), None)
        self.saved = Saved(newest.offset if newest else tick_log.first_offset, 0)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make checkpoints."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Make no more; end a child that works."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def ask(self) -> None:
        """Make a checkpoint soon: enough was logged."""
        self._enough.set()

    async def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._enough.wait()
            self._enough.clear()
            if self._position() + 1 == self.saved.offset:
                continue
            began = time.monotonic()
            try:
                await self.make()
                problem, retry_s = "", FIRST_RETRY_S
            except (CheckpointFailed, OSError, TimeoutError) as exc:
                problem = str(exc) or "it took too long"
            if problem:
                # The records are all there, so the service is as safe as before.
                log.error("checkpoint_failed", problem=problem)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, MAX_RETRY_S)
                self._enough.set()
            else:
                # In a flood enough is logged meanwhile, and a child that always works costs a
                # third of the ticks per second.
                await asyncio.sleep(time.monotonic() - began)

    async def make(self) -> None:
        """Make a checkpoint of the present state.

        Raises:
            CheckpointFailed: the child failed.
            OSError: it could not be started.
            TimeoutError: it took too long.
        """
        offset, handed = self._position() + 1, self._handed()
        began = time.monotonic()
        async with asyncio.timeout(TIMEOUT_S):
            process = await asyncio.create_subprocess_exec(
                *self._command, str(offset), env=self._env, stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
            problem = asyncio.create_task(_read_tail(process))
            try:
                await _expect(process, MADE, problem)
                await self._written(handed)
                _pipe(process.stdin).write(f"{SAVE}\n".encode())
                await _expect(process, SAVED, problem)
                await process.wait()
            finally:
                await _end(process)
                problem.cancel()
        self.saved = Saved(offset, time.time_ns())
        # All but the newest are checked already.
        checkpoints = await asyncio.to_thread(self._log.checkpoints)
        log.info("checkpoint_saved", offset=offset, seconds=round(time.monotonic() - began, 3))
        if len(checkpoints) > 1:
            # If the newest one is damaged, a start needs the records after the one before.
            self._log.truncate(checkpoints[-1].offset)


async def _expect(process: Process, word: str, problem: asyncio.Task[str]) -> None:
    line = (await _pipe(process.stdout).readline()).decode(errors="replace").strip()
    if line != word:
        raise CheckpointFailed(await problem or line or "the process ended")


async def _read_tail(process: Process) -> str:
    tail, stderr = b"", _pipe(process.stderr)
    while data := await stderr.read(65_536):
        tail = (tail + data)[-_TAIL:]
    return tail.decode(errors="replace").strip()


def _pipe(pipe: P | None) -> P:
    # Each process is started with pipes.
    if pipe is None:
        raise CheckpointFailed("the process has no pipe")
    return pipe


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.kill()
    await process.wait()
