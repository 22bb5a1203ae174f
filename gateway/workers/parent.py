"""The parent of several gateways: it makes what they share, keeps them running, serves nobody."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack

from gateway.settings import GatewaySettings
from gateway.workers.board import Board
from gateway.workers.control import bind_control
from marketdata.errors import SettingsError
from marketdata.workers import supervise

# The goodbye, and a turn of uvicorn's loop.
GOODBYE_S = 2


async def run_workers(settings: GatewaySettings, stop: asyncio.Event) -> int:
    """Run the workers until ``stop`` is set; return the exit code.

    Raises:
        SettingsError: this system cannot do it.
        AddressInUse: another program listens on the port.
        StartError: the address cannot be listened on.
    """
    if not hasattr(os, "memfd_create"):
        raise SettingsError("GATEWAY_WORKERS over 1 needs Linux")
    with ExitStack() as stack:
        callers = settings.rate_limit_max_clients if settings.rate_limit_scope == "client" else 1
        board = Board.create(settings.workers, callers)
        stack.callback(board.close)
        controls = [
            stack.enter_context(bind_control(board.token, number))
            for number in range(settings.workers)
        ]
        return await supervise(
            "gateway",
            settings.host,
            settings.port,
            workers=settings.workers,
            stop=stop,
            stop_deadline_s=settings.shutdown_timeout_s + GOODBYE_S,
            extra=[(control.fileno(), board.descriptor) for control in controls],
            # Its clients are gone with it.
            on_end=lambda number: board.set_clients(number, 0),
        )
