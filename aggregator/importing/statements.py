"""The statements about the bars of one import, whose columns follow from the table of fields."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select

from aggregator.bars.bar import BarState, Coverage
from aggregator.store.database import Database
from aggregator.store.schema import KEY, STAGED, STORED, bars, import_bars, symbols

# A staged bar has no columns for these: all bars of an import are alike.
_ALIKE = {
    "state": BarState.FINAL.value,
    "revision": 0,
    "coverage": Coverage.FULL.value,
}
_STAGED = [field.name for field in STAGED]
_VALUES = [name for name in _STAGED if name not in KEY]
# A stored bar is revised if one of these differs. The sequences depend on the way of a trade into
# the store. The phase follows from the start. Sums of money are compared with a tolerance.
_COMPARED = [
    name
    for name in _VALUES
    if name not in {"first_sequence", "last_sequence", "phase", "notional", "notional_error"}
]
# Such sums may differ in the last bits, by the order in which they were added up.
_NOTIONAL_TOLERANCE = 1e-12


def select_staged(condition: ColumnElement[bool]) -> Any:
    """Return the statement for staged bars, with the columns of stored ones."""
    columns = [
        literal(_ALIKE[field.name]).label(field.name)
        if field.name in _ALIKE
        else import_bars.c[field.name]
        for field in STORED
    ]
    return select(*columns).where(condition)


def select_newest(mine: ColumnElement[bool]) -> Any:
    """Return the statement for the newest staged bar of each symbol and interval."""
    columns = import_bars.c
    newest = (
        select(columns.symbol, columns.interval, func.max(columns.start).label("at"))
        .where(mine)
        .group_by(columns.symbol, columns.interval)
        .subquery()
    )
    is_newest = and_(
        newest.c.symbol == columns.symbol,
        newest.c.interval == columns.interval,
        newest.c.at == columns.start,
    )
    return select_staged(mine).join(newest, is_newest)


def stage_bars(database: Database) -> Any:
    """Return the statement that writes staged bars; its parameters are all columns."""
    statement = database.insert(import_bars)
    return statement.on_conflict_do_update(
        index_elements=["import", *KEY],
        set_={name: statement.excluded[name] for name in _VALUES},
    )


def store_symbols(database: Database, part: ColumnElement[bool]) -> Any:
    """Return the statement that adds the symbols of some staged bars."""
    names = select(import_bars.c.symbol).where(part).distinct()
    return database.insert(symbols).from_select(["symbol"], names).on_conflict_do_nothing()


def store_bars(database: Database, part: ColumnElement[bool]) -> Any:
    """Return the statement that stores some staged bars, where they are new or different."""
    staged = [import_bars.c[name] for name in _STAGED]
    values = [literal(value) for value in _ALIKE.values()]
    statement = database.insert(bars).from_select(
        [*_STAGED, *_ALIKE], select(*staged, *values).where(part)
    )
    new = statement.excluded
    was_open = bars.c.state < BarState.FINAL.value
    difference = func.abs(
        (new.notional + new.notional_error) - (bars.c.notional + bars.c.notional_error)
    )
    return statement.on_conflict_do_update(
        index_elements=KEY,
        set_={
            **{name: new[name] for name in (*_VALUES, "coverage")},
            "state": case((was_open, BarState.FINAL.value), else_=BarState.REVISED.value),
            "revision": case((was_open, bars.c.revision), else_=bars.c.revision + 1),
        },
        where=or_(
            was_open,
            *(bars.c[name] != new[name] for name in _COMPARED),
            difference > bars.c.notional * _NOTIONAL_TOLERANCE,
        ),
    )
