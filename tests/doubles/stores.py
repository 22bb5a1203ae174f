"""Stores that run within a context."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from random import Random
from typing import Any

from aggregator.store.address import parse_store
from aggregator.store.database import Database
from aggregator.store.queries import Range
from aggregator.store.rows import to_bar
from aggregator.store.store import BarStore

ALL_TIME = 2**63 - 1


def open_database(address: str, **options: Any) -> Database:
    """Return the database at ``address``."""
    url = parse_store(address)
    assert url is not None
    return Database(url, **options)


@contextlib.asynccontextmanager
async def run_store(
    address: str,
    *,
    max_waiting: int = 1_000,
    retention: Mapping[str, int] | None = None,
    told: asyncio.Queue[bool] | None = None,
    **options: Any,
) -> AsyncIterator[BarStore]:
    """Run a store; its reports of health go into ``told``."""
    store = BarStore(
        open_database(address, **options),
        max_waiting=max_waiting,
        retention=retention or {},
        tell=(told or asyncio.Queue()).put_nowait,
        random=Random(1),
    )
    await store.start()
    try:
        yield store
    finally:
        await store.stop(2.0)


async def stored(
    store: BarStore, symbol: str = "AAPL", interval: str = "1s", **asked: Any
) -> Sequence[Any]:
    """Return the stored bars of a symbol."""
    given = {"from_ns": 0, "to_ns": ALL_TIME, "limit": 10_000, "closed_only": False, **asked}
    rows = await store.fetch(Range(symbol, interval, **given))
    return [to_bar(row) for row in rows]
