"""Remember which run was the last, how it stopped, and where it left each producer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import delete, insert, select, update

from aggregator.coverage.feeds import SenderMark
from aggregator.coverage.spans import Span
from aggregator.store.database import Database
from aggregator.store.schema import last_stop, runs


@dataclass(frozen=True, slots=True)
class LastStop:
    """The last orderly stop."""

    # Whether nothing ran after it, so that the open bars have all trades that were acked.
    is_last: bool = False
    senders: Mapping[str, SenderMark] = field(default_factory=dict)
    # The epoch of the last run that took the store, 0: not known.
    epoch: int = 0


async def take_last_stop(database: Database) -> LastStop:
    """Return the last orderly stop; from now on a run comes after it."""
    async with database.write() as connection:
        row = (await connection.execute(select(last_stop))).first()
        await connection.execute(update(last_stop).values(is_last=False))
        epoch = (await connection.execute(select(runs.c.epoch))).scalar() or 0
    if row is None:
        return LastStop(epoch=epoch)
    return LastStop(row.is_last, _read_senders(row.senders), epoch)


async def save_run(database: Database, epoch: int) -> None:
    """Note that the run with this epoch takes the store."""
    async with database.write() as connection:
        await connection.execute(delete(runs))
        await connection.execute(insert(runs).values(number=1, epoch=epoch))


async def save_last_stop(database: Database, senders: Mapping[str, SenderMark]) -> None:
    """Note that all bars are written and the run is over."""
    async with database.write() as connection:
        await connection.execute(delete(last_stop))
        await connection.execute(
            insert(last_stop).values(number=1, is_last=True, senders=json.dumps(senders))
        )


def _read_senders(text: str) -> dict[str, SenderMark]:
    return {
        name: SenderMark(last_sequence, since, [Span(*place) for place in places])
        for name, (last_sequence, since, places) in json.loads(text).items()
    }
