"""Run the gateway: ``python -m gateway``."""

from __future__ import annotations

import asyncio

from gateway.settings import GatewaySettings
from marketdata.runtime import run_service
from marketdata.workers import is_worker


async def main(settings: GatewaySettings, stop: asyncio.Event) -> int:
    """Be the gateway, or the parent of several; return the exit code."""
    # Each needs little of what the other does.
    if settings.workers > 1 and not is_worker():
        from gateway.workers.parent import run_workers  # noqa: PLC0415

        return await run_workers(settings, stop)
    from gateway import app  # noqa: PLC0415

    return await app.main(settings, stop)


if __name__ == "__main__":
    run_service("gateway", GatewaySettings, main)
