"""The statements about the bars of one import, whose columns follow from the table of fields."""

from __future__ import annotations

from enum import Enum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    case,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)

from aggregator.bars.bar import BarState, Coverage
from aggregator.bars.candle import MAX_INT64
from aggregator.store.database import Database
from aggregator.store.schema import (
    KEY,
    STAGED,
    STORED,
    bars,
    import_bars,
    import_refused,
    imported_hours,
    symbols,
)
from marketdata.validation import MAX_VOLUME_DECIMALS

_INT64_MAX = literal_column(str(MAX_INT64), BigInteger)


class Way(Enum):
    """What happens where stored bars have trades of the same time as the files."""

    # The trades are added to those of other files; what may be the same trades twice is refused.
    ADD = "add"
    # They are added to whatever is there: the operator knows that they are other trades.
    JOIN = "join"
    # The bars are made of these files alone.
    REPLACE = "replace"


# A staged bar has no columns for these: all bars of an import are alike.
_ALIKE = {
    "state": BarState.FINAL.value,
    "revision": 0,
    "coverage": Coverage.FULL.value,
}
_STAGED = [field.name for field in STAGED]
_VALUES = [name for name in _STAGED if name not in KEY]
# A stored bar is revised if one of these differs. The sequences depend on the way of a trade into
# the store. The phase follows from the start. Refused rows are counted at the end. Sums of money
# are compared with a tolerance.
_COMPARED = [
    name
    for name in _VALUES
    if name
    not in {"first_sequence", "last_sequence", "phase", "notional", "notional_error", "refused"}
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


def stage_hours(database: Database) -> Any:
    """Return the statement that adds to the hours of a file; its parameters are all columns."""
    statement = database.insert(imported_hours)
    old, new = imported_hours.c, statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["import", "symbol", "hour", "content"],
        set_={
            "first_ts": case((new.first_ts < old.first_ts, new.first_ts), else_=old.first_ts),
            "last_ts": case((new.last_ts > old.last_ts, new.last_ts), else_=old.last_ts),
            "trades": old.trades + new.trades,
            **_sum_of_sizes(old, new),
            "ids": old.ids + new.ids,
            "first_trades": case(
                (new.first_ts < old.first_ts, new.first_trades),
                (new.first_ts > old.first_ts, old.first_trades),
                else_=old.first_trades + new.first_trades,
            ),
            "last_trades": case(
                (new.last_ts > old.last_ts, new.last_trades),
                (new.last_ts < old.last_ts, old.last_trades),
                else_=old.last_trades + new.last_trades,
            ),
        },
    )


def store_symbols(database: Database, part: ColumnElement[bool]) -> Any:
    """Return the statement that adds the symbols of some staged bars."""
    names = select(import_bars.c.symbol).where(part).distinct()
    return database.insert(symbols).from_select(["symbol"], names).on_conflict_do_nothing()


def store_bars(database: Database, part: ColumnElement[bool], way: Way) -> Any:
    """Return the statement that stores some staged bars.

    New bars are inserted. To a bar that is there already the trades are added, or it is replaced if
    it differs, as ``way`` says.
    """
    staged = [import_bars.c[name] for name in _STAGED]
    values = [literal(value) for value in _ALIKE.values()]
    statement = database.insert(bars).from_select(
        [*_STAGED, *_ALIKE, "imported"], select(*staged, *values, true()).where(part)
    )
    new = statement.excluded
    if way is Way.REPLACE:
        changed, where = _replaced(new), or_(_was_open, _differs(new))
    else:
        # Without the operator's word, only to bars of other files.
        changed, where = _added(new), or_(bars.c.imported, literal(way is Way.JOIN))
    return statement.on_conflict_do_update(
        index_elements=KEY,
        set_={
            **changed,
            "state": case((_was_open, BarState.FINAL.value), else_=BarState.REVISED.value),
            "revision": case((_was_open, bars.c.revision), else_=bars.c.revision + 1),
        },
        where=where,
    )


def mark_imported(part: ColumnElement[bool]) -> Any:
    """Return the statement that notes of bars that their trades are those of some staged bars."""
    key = [import_bars.c[name] for name in KEY]
    return (
        update(bars)
        .where(
            ~bars.c.imported, tuple_(*(bars.c[name] for name in KEY)).in_(select(*key).where(part))
        )
        .values(imported=true())
    )


_REFUSED_KEY = ("symbol", "interval", "start")


def add_refused(statement: Any) -> Any:
    """Return an insert of refused rows that adds to the counts that are there."""
    return statement.on_conflict_do_update(
        index_elements=["import", *_REFUSED_KEY],
        set_={"count": import_refused.c.count + statement.excluded.count},
    )


def mark_incomplete(part: ColumnElement[bool], way: Way) -> Any:
    """Return the statement that notes of bars how many of their trades were refused."""
    key = tuple_(*(bars.c[name] for name in _REFUSED_KEY))
    refused = select(*(import_refused.c[name] for name in _REFUSED_KEY)).where(part)
    same = [import_refused.c[name] == bars.c[name] for name in _REFUSED_KEY]
    count: Any = select(import_refused.c.count).where(part, *same).scalar_subquery()
    if way is not Way.REPLACE:
        count += bars.c.refused
    values = {"coverage": Coverage.PARTIAL.value, "refused": count}
    return update(bars).where(key.in_(refused)).values(**values)


def forget_noted(part: ColumnElement[bool]) -> Any:
    """Return the statement that removes the refused rows of which a bar tells."""
    same = [import_refused.c[name] == bars.c[name] for name in _REFUSED_KEY]
    return delete(import_refused).where(part, select(bars.c.start).where(*same).exists())


def keep_refused(database: Database, part: ColumnElement[bool], way: Way) -> Any:
    """Return the statement that keeps the refused rows that no bar tells of."""
    names = [*_REFUSED_KEY, "count"]
    rows = select(literal(""), *(import_refused.c[name] for name in names)).where(part)
    statement = database.insert(import_refused).from_select(["import", *names], rows)
    if way is not Way.REPLACE:
        return add_refused(statement)
    return statement.on_conflict_do_update(
        index_elements=["import", *_REFUSED_KEY], set_={"count": statement.excluded.count}
    )


_was_open = bars.c.state < BarState.FINAL.value


def _replaced(new: Any) -> dict[str, Any]:
    return {**{name: new[name] for name in (*_VALUES, "coverage")}, "imported": true()}


def _differs(new: Any) -> ColumnElement[bool]:
    difference = func.abs(
        (new.notional + new.notional_error) - (bars.c.notional + bars.c.notional_error)
    )
    return or_(
        *(bars.c[name] != new[name] for name in _COMPARED),
        difference > func.abs(bars.c.notional) * _NOTIONAL_TOLERANCE,
    )


def _added(new: Any) -> dict[str, Any]:
    # As Candle.merge has it.
    old = bars.c
    # 0 is the time of a price that no trade gave.
    is_earlier = and_(
        new.first_ts != 0,
        or_(
            old.first_ts == 0,
            new.first_ts < old.first_ts,
            and_(new.first_ts == old.first_ts, new.first_sequence < old.first_sequence),
        ),
    )
    is_later = or_(
        new.last_ts > old.last_ts,
        and_(new.last_ts == old.last_ts, new.last_sequence >= old.last_sequence),
    )
    finer_old, finer_new = _factors(old, new)
    money, more = old.notional * finer_old, new.notional * finer_new
    total = money + more
    # Neumaier's sum: what the larger summand lost of the smaller one.
    error = case(
        (func.abs(money) >= func.abs(more), (money - total) + more),
        else_=(more - total) + money,
    )
    return {
        "open": case((is_earlier, new.open), else_=old.open),
        "first_ts": case((is_earlier, new.first_ts), else_=old.first_ts),
        "first_sequence": case((is_earlier, new.first_sequence), else_=old.first_sequence),
        "close": case((is_later, new.close), else_=old.close),
        "last_ts": case((is_later, new.last_ts), else_=old.last_ts),
        "last_sequence": case((is_later, new.last_sequence), else_=old.last_sequence),
        "high": case((new.high > old.high, new.high), else_=old.high),
        "low": case((new.low < old.low, new.low), else_=old.low),
        **_sum_of_sizes(old, new),
        "trades": old.trades + new.trades,
        "refused": old.refused + new.refused,
        "notional": total,
        "notional_error": old.notional_error * finer_old + new.notional_error * finer_new + error,
    }


def _power(decimals: Any) -> Any:
    # 10 to the power of a difference of decimals, 1 if it is negative. Neither database has an
    # exact one.
    powers = range(1, MAX_VOLUME_DECIMALS + 1)
    return case(*((decimals == _number(n), _number(10**n)) for n in powers), else_=_number(1))


def _number(value: int) -> Any:
    # A constant and not a parameter, since the parameters are those of the rows.
    return literal_column(str(value), BigInteger)


def _factors(old: Any, new: Any) -> tuple[Any, Any]:
    # What brings the volumes of two rows to the finer scale of the two.
    finer = new.volume_decimals - old.volume_decimals
    return _power(finer), _power(-finer)


def _sum_of_sizes(old: Any, new: Any) -> dict[str, Any]:
    finer_old, finer_new = _factors(old, new)
    return {
        "volume": old.volume * finer_old + new.volume * finer_new,
        "volume_decimals": case(
            (new.volume_decimals > old.volume_decimals, new.volume_decimals),
            else_=old.volume_decimals,
        ),
    }


def is_too_much(old: Any, new: Any) -> ColumnElement[bool]:
    """Return the condition that the volumes of two bars have no sum that fits."""
    finer_old, finer_new = _factors(old, new)
    # The database may not compute what does not fit, so the first true condition decides.
    return case(
        (new.volume > _INT64_MAX // finer_new, True),
        (old.volume > _INT64_MAX // finer_old, True),
        else_=old.volume * finer_old > _INT64_MAX - new.volume * finer_new,
    )
