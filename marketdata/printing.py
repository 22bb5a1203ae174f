"""Print for people or a pipe, and go on when nobody reads it."""

from __future__ import annotations

import os
import sys
from typing import Literal, TextIO


def print_line(text: str, stream: Literal["stdout", "stderr"] = "stdout") -> None:
    """Print a line; when it cannot be written, print nothing to this stream any more."""
    file = getattr(sys, stream)
    try:
        # None: the stream was closed before the program began.
        print(text, file=file, flush=True)
    except OSError:
        silence(file)


def silence(file: TextIO) -> None:
    """Let everything that is printed to ``file`` go nowhere.

    Its reader (head, less) has ended, or the disk is full. The interpreter flushes once more at
    exit, so the descriptor must stay valid.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, file.fileno())
    os.close(null)
