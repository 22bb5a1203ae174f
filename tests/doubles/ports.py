"""Ports for services that have to come back on the same one."""

from __future__ import annotations

import random
import socket

# Linux gives ports from 32768 on to whoever wants any, so one of those could be somebody's own end
# of a connection a moment later.
LOW, HIGH = 10_000, 32_767


def free_port() -> int:
    """Return a port that nobody has, and that nobody gets who does not ask for it."""
    while True:
        port = random.randint(LOW, HIGH)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
