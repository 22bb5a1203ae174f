"""Write the log in a thread of its own, so that nothing waits for it or fails with it."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

STDERR = 2
# Lines that may wait while standard error takes none; the oldest are lost and counted. A line is
# about 200 bytes, a traceback some KiB.
MAX_LINES = 10_000
MAX_BYTES = 4 * 1024 * 1024
# A text without an end of line is cut here.
MAX_LINE = 64 * 1024
# How long the last lines may take at exit.
CLOSE_TIMEOUT_S = 1.0


class LogWriter:
    """Write lines to standard error; :meth:`put` never waits and never raises.

    Args:
        describe_loss: returns the line that says how many lines were lost; empty: say nothing.
    """

    def __init__(self, describe_loss: Callable[[int], str]) -> None:
        self._describe_loss = describe_loss
        self._descriptor, self._blocks = _take_stderr()
        # Its put may be called anywhere, also by the garbage collector inside another put.
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        # Reentrant for the same reason.
        self._lock = threading.RLock()
        self._waiting_bytes = 0
        self._lost = 0
        # Whether a part of a line was written, and the rest could not be.
        self._is_torn = False
        self._is_closed = False
        # A daemon, since a write may never end.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Take a line with its end; while too many wait, the oldest is lost."""
        data = line.encode(errors="backslashreplace")
        if self._is_closed:
            if not self._blocks:
                with contextlib.suppress(OSError):
                    os.write(STDERR, data)
            return
        with self._lock:
            self._queue.put(data)
            self._waiting_bytes += len(data)
            # The newest lines tell why it ends.
            while self._queue.qsize() > MAX_LINES or self._waiting_bytes > MAX_BYTES:
                try:
                    oldest = self._queue.get_nowait()
                except Empty:
                    break
                self._waiting_bytes -= len(oldest or b"")
                self._lost += 1

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Write what waits, for at most ``timeout_s``."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        self._is_closed = True

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            written = self._write(data)
            with self._lock:
                self._waiting_bytes -= len(data)
                self._lost += not written
                lost = self._lost if written else 0
            if lost:
                self._say_lost(lost)

    def _say_lost(self, lost: int) -> None:
        line = self._describe_loss(lost)
        if not line or self._write(line.encode(errors="backslashreplace")):
            with self._lock:
                self._lost -= lost

    def _write(self, data: bytes) -> bool:
        left = memoryview(b"\n" + data if self._is_torn else data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
                self._is_torn = bool(left)
        except OSError:
            return False
        return True


class LogStream(io.TextIOBase):
    """Stand in for ``sys.stderr``: everything that is printed there becomes lines of the log."""

    def __init__(self, put: Callable[[str], None], *, is_terminal: bool) -> None:
        self._put = put
        self._is_terminal = is_terminal
        self._lock = threading.RLock()
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return the encoding of the log."""
        return "utf-8"

    def write(self, text: str) -> int:
        """Pass on whole lines, and keep the begun one."""
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
            if len(self._begun) > MAX_LINE:
                lines.append(self._begun)
                self._begun = ""
        # Together, so that a traceback stays whole.
        if lines:
            self._put("\n".join(lines) + "\n")
        return len(text)

    def flush(self) -> None:
        """Pass on a begun line as it is."""
        with self._lock:
            begun, self._begun = self._begun, ""
        if begun:
            self._put(begun)

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def isatty(self) -> bool:
        """Say whether people read it on a terminal."""
        return self._is_terminal

    def fileno(self) -> int:
        """Return the descriptor of standard error."""
        return STDERR


def _take_stderr() -> tuple[int, bool]:
    """Return a descriptor of standard error for our thread, and whether others may block on it.

    C libraries write to descriptor 2 themselves, where a pipe that nobody reads would stop them.
    So that one becomes non-blocking where this is possible.
    """
    try:
        kind = os.fstat(STDERR).st_mode
    except OSError:
        # It is closed, and the next socket would take its number.
        null = os.open(os.devnull, os.O_WRONLY)
        if null != STDERR:
            os.dup2(null, STDERR)
            os.close(null)
        return os.dup(STDERR), False
    ours = os.dup(STDERR)
    if stat.S_ISREG(kind):
        # A file never blocks, and opened again it would have a position of its own.
        return ours, False
    try:
        # Opened again, because the flag belongs to everybody who shares what was opened.
        again = os.open(
            f"/proc/self/fd/{STDERR}", os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_NOCTTY
        )
    except OSError:
        # The reader is gone, or it is a socket, or another user's terminal.
        return ours, True
    os.dup2(again, STDERR)
    os.close(again)
    return ours, False


def take_over_stderr(describe_loss: Callable[[int], str]) -> LogWriter:
    """Return the writer of the log, to which ``sys.stderr`` now leads as well."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    writer = LogWriter(describe_loss)
    sys.stderr = LogStream(writer.put, is_terminal=is_terminal)
    return writer
