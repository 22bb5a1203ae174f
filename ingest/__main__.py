"""``python -m ingest``."""

from __future__ import annotations

import asyncio

from ingest.settings import IngestSettings
from marketdata.runtime import run_service
from marketdata.workers import is_worker, supervise


async def main(settings: IngestSettings, stop: asyncio.Event) -> int:
    """Be ingest, or the parent of several; return the exit code."""
    if settings.workers > 1 and not is_worker():
        return await supervise(
            "ingest",
            settings.host,
            settings.port,
            workers=settings.workers,
            stop=stop,
            stop_deadline_s=settings.shutdown_deadline_s,
        )
    # The parent needs neither gRPC nor the kernels.
    from ingest import app  # noqa: PLC0415

    return await app.main(settings, stop)


if __name__ == "__main__":
    run_service("ingest", IngestSettings, main)
