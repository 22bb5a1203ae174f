"""The options of commands that read files of trades."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marketdata.files.formats import NAMES
from marketdata.files.options import NAMED, BadOption, FileOptions, parse_options

Files = Annotated[
    list[Path],
    typer.Argument(
        help="CSV and its relatives, .parquet, also as .gz, .zst or .zip; - is the standard input."
    ),
]
Format = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help=f"Whose files they are: {' '.join(NAMES)}."),
]
Columns = Annotated[
    str | None,
    typer.Option(
        metavar="ROLE=COLUMN,…",
        help=f"Names or numbers of columns: price=2,size=3,time=5. Roles: {' '.join(NAMED)}.",
    ),
]
Symbol = Annotated[
    str | None, typer.Option(metavar="NAME", help="What was traded, where no column says it.")
]
Delimiter = Annotated[
    str | None, typer.Option(metavar="SIGN", help="Between two cells; also tab, semicolon, pipe.")
]
DecimalSign = Annotated[
    str | None, typer.Option("--decimal", metavar="SIGN", help="Before the decimals: . or ,")
]
Zone = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Of times without one: UTC, Europe/Berlin.")
]
Day = Annotated[
    str | None, typer.Option("--date", metavar="DAY", help="Of times without one: 2025-01-03.")
]
Dates = Annotated[
    str | None, typer.Option(metavar="ORDER", help="Of days like 03/04/2025: dmy, mdy or ymd.")
]
Conditions = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="Which US sale conditions move no price: as the tape says, extended (trades out of "
        "hours move prices), none.",
    ),
]


def read_options(
    *,
    file_format: str | None,
    columns: str | None,
    symbol: str | None,
    delimiter: str | None,
    decimal: str | None,
    zone: str | None,
    date: str | None,
    dates: str | None,
    conditions: str | None,
) -> FileOptions:
    """Return the options of a command.

    Raises:
        typer.BadParameter: one of them cannot be used.
    """
    try:
        return parse_options(
            file_format=file_format,
            columns=columns,
            symbol=symbol,
            delimiter=delimiter,
            decimal=decimal,
            zone=zone,
            date=date,
            dates=dates,
            conditions=conditions,
        )
    except BadOption as exc:
        raise typer.BadParameter(exc.reason, param_hint=exc.name) from exc
