"""Call back from a thread."""

from __future__ import annotations

import contextlib
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import TypeVarTuple, Unpack

Args = TypeVarTuple("Args")


def call_in(
    loop: AbstractEventLoop, callback: Callable[[Unpack[Args]], object], *args: *Args
) -> None:
    """Call in an event loop; if that has ended, nobody waits for the call."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *args)
