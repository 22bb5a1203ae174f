"""Which columns of the gateway's JSON clients read, and as what: from the table of fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from marketdata.fields import (
    AGGREGATE_FIELDS,
    BAR_FIELDS,
    Kind,
    PublicColumn,
    public_columns,
)

_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_read(column: PublicColumn) -> bool:
    """Return whether clients read a column: of a time they read the nanoseconds alone."""
    return column.is_ns or column.field.kind is not Kind.TIME


def attribute_of(column: PublicColumn) -> str:
    """Return the name of a column in Python: ``startNs`` is ``start_ns``."""
    return _CAPITAL.sub("_", column.name).lower()


def converter_of(column: PublicColumn) -> Callable[[Any], Any] | None:
    """Return the function that makes the value of Python; None: JSON has it already."""
    if column.field.kind is Kind.SIZE:
        return Decimal
    whole = {Kind.COUNT, Kind.POSITION, Kind.TIME}
    return int if column.field.kind in whole else None


AGGREGATE_COLUMNS = tuple(filter(is_read, public_columns(AGGREGATE_FIELDS)))
BAR_COLUMNS = tuple(filter(is_read, public_columns(BAR_FIELDS)))
