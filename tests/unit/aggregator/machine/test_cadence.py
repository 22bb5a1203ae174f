"""A checkpoint is due when a restart would take long, whatever the batches are like."""

from __future__ import annotations

import time

import pytest

from aggregator.core import Core
from aggregator.machine.inputs import Batch
from aggregator.machine.journal import BYTE_S, RECORD_S, Journal
from aggregator.settings import AggregatorSettings
from tests.doubles.memory_log import MemoryLog


@pytest.mark.parametrize("size", [100, 500_000])
async def test_it_is_due_by_the_time_that_records_take_to_apply(size: int) -> None:
    core = Core(AggregatorSettings(store="off"), time.time_ns, lambda _works: None)
    journal, asked = Journal(core.machine, time.time_ns), []
    journal.use(MemoryLog())
    journal.notify(0.1, lambda: asked.append(1))
    batch = Batch(1, b"\xff" * size)
    records = int(2.5 * 0.1 / (RECORD_S + len(batch.payload()) * BYTE_S))
    for _ in range(records):
        journal.submit(batch)
    await journal.settle()
    assert len(asked) == 2
