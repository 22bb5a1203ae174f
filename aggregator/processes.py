"""Be the whole aggregator, the front of several workers, or one of them."""

from __future__ import annotations

import asyncio

from aggregator import app
from aggregator.settings import AggregatorSettings
from aggregator.shards import app as shards_app
from aggregator.shards import worker as shards_worker
from marketdata.runtime import collect_rarely
from marketdata.workers import this_worker

# A full collection would look at every bar in memory and find nothing: bars are no cycles. Of reads
# of 1,000 of 10 million stored bars p99 was 36 ms with Python's own thresholds, and is 11 now.
COLLECTIONS = 1_000


async def main(settings: AggregatorSettings, stop: asyncio.Event) -> int:
    """Run until ``stop`` is set; return the exit code."""
    collect_rarely(COLLECTIONS)
    worker = this_worker()
    if worker is not None:
        # Signals that reach the whole group are the front's to heed: it ends us when the producers
        # have finished.
        return await shards_worker.main(worker)
    if settings.workers > 1:
        return await shards_app.main(settings, stop)
    return await app.main(settings, stop)
