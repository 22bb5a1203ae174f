"""Say the state of a source in one line each time it changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from marketdata.printing import print_line

# States that somebody should look at if they last.
_NEED_ATTENTION = frozenset({"lost", "waiting"})


class States:
    """Print the states of one source.

    :attr:`state` is the present one.

    Args:
        source: its name, at the front of each line.
        with_time: whether a line begins with the time; ``make run`` has its own.
        is_quiet: whether only lines that need attention are printed.
        write: takes a line.
    """

    def __init__(
        self,
        source: str,
        *,
        with_time: bool = True,
        is_quiet: bool = False,
        write: Callable[[str], None] = print_line,
    ) -> None:
        self._source = source
        self._with_time = with_time
        self._is_quiet = is_quiet
        self._write = write
        self.state = ""

    def enter(self, state: str, detail: str = "") -> None:
        """Say that the source is in another state."""
        self.state = state
        text = f"{state}: {detail}" if detail else state
        if state in _NEED_ATTENTION:
            self.warn(text)
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """Print a line about the source."""
        if not self._is_quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Print a line that needs attention."""
        time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} " if self._with_time else ""
        self._write(f"{time}{self._source} {text}")
