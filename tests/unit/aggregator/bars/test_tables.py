"""Columns that grow: large ones stay where they are."""

from __future__ import annotations

import numpy as np
import pytest

from aggregator.bars import tables
from aggregator.bars.bar import always_covered
from aggregator.bars.bar_table import BarTable
from aggregator.bars.kernel.records import BAR
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.bars.refusals import Refusals
from aggregator.sessions.sessions import UtcDay


def test_a_large_column_grows_where_it_is() -> None:
    column = tables.make_column(20_000, BAR)
    column["row"] = np.arange(20_000)
    longer = tables.grow_column(column, 800_000)
    assert np.shares_memory(column, longer)
    assert longer.flags.c_contiguous
    assert longer["row"][:20_000].tolist() == list(range(20_000))
    assert not longer["row"][20_000:].any()


@pytest.mark.parametrize("size", [10, tables.RESERVED_RECORDS])
def test_a_column_without_reserved_room_is_copied(size: int) -> None:
    column = tables.make_column(size, np.int64)
    column[:] = 7
    longer = tables.grow_column(column, 2 * size)
    assert not np.shares_memory(column, longer)
    assert (longer[:size] == 7).all()
    assert not longer[size:].any()


def test_a_large_pool_grows_without_a_copy_and_without_a_new_index() -> None:
    rule = UtcDay()
    table = BarTable(
        BarPlan(parse_intervals("1s")), lambda _symbol: rule, always_covered, Refusals()
    )
    row = table.add("A")
    sizes = []
    while len(table.tables.bars) < 1_000_000:
        before = table.tables
        # As if every place were taken.
        before.state["free"] = 0
        table.make_room(row)
        after = table.tables
        if len(before.bars) >= 2**14:
            sizes.append(len(after.bars))
            assert after.bars.base is before.bars.base
            assert after.heads is before.heads
    # The sizes are part of the saved state.
    assert sizes == [2**15, 2**16, 2**17, 2**18, 2**19, 786_432, 1_048_576]
