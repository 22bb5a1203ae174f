"""Show the progress of a run: a line that changes on a terminal, else one line per second."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fakeclient.report import Counts, progress_line
from marketdata.printing import print_line

_PLAIN_INTERVAL_S = 1.0
_LIVE_INTERVAL_S = 0.1


class Screen(Protocol):
    """Shows lines and the progress."""

    interval_s: float

    def say(self, line: str) -> None:
        """Show a line that stays."""

    def show_progress(self, line: str) -> None:
        """Show how far the run is."""

    def end_progress(self) -> None:
        """Show no more progress."""


class PlainScreen:
    """Print every line."""

    interval_s = _PLAIN_INTERVAL_S

    def say(self, line: str) -> None:
        """Print a line; once it cannot be written, print nothing any more."""
        print_line(line)

    def show_progress(self, line: str) -> None:
        """Print how far the run is."""
        self.say(line)

    def end_progress(self) -> None:
        """Leave everything as it is."""


class QuietScreen(PlainScreen):
    """Print every line but the progress."""

    def show_progress(self, line: str) -> None:
        """Show nothing."""


class LiveScreen:
    """Keep the progress on the terminal's last line."""

    interval_s = _LIVE_INTERVAL_S

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)

    def say(self, line: str) -> None:
        """Print a line above the progress."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show_progress(self, line: str) -> None:
        """Replace the progress."""
        self._progress.start()
        self._progress.update(self._task, description=line, refresh=True)

    def end_progress(self) -> None:
        """Remove the progress."""
        self._progress.stop()


def choose_screen(log_level: str) -> Screen:
    """Return the screen that fits standard output; at log level warning it shows no progress."""
    if log_level in {"warning", "error"}:
        return QuietScreen()
    console = Console()
    return LiveScreen(console) if console.is_terminal else PlainScreen()


async def watch_progress(screen: Screen, counts: Counts) -> None:
    """Show the progress until cancelled."""
    now = asyncio.get_running_loop().time
    # The rate of the last second, also where the line is renewed more often.
    seen = deque([(now(), counts.sent)], maxlen=max(1, round(1 / screen.interval_s)))
    while True:
        await asyncio.sleep(screen.interval_s)
        seen_at, sent = seen[0]
        elapsed_s = now() - seen_at
        seen.append((now(), counts.sent))
        screen.show_progress(progress_line(counts, (counts.sent - sent) / elapsed_s))
