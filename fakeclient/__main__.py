"""The command line: a random walk by default, the replay of a file, or the making of one."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from fakeclient.app import Job, replay_job, run, walk_job
from fakeclient.console import choose_screen
from fakeclient.day import ZONE, last_weekday, trading_day
from fakeclient.files import Replayed, write_trades
from fakeclient.settings import FakeclientSettings
from marketdata.errors import SettingsError
from marketdata.files import arguments
from marketdata.files.source import STDIN, BadFile, find_parts
from marketdata.printing import print_line
from marketdata.settings import load_settings

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Server = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Where ingest listens (localhost:50050)."),
]
Connections = Annotated[
    int | None,
    typer.Option(help="TCP connections; a symbol always uses the same one (1)."),
]
Retry = Annotated[
    bool | None,
    typer.Option("--retry/--no-retry", help="Without retry, exit 1 when the server is gone."),
]
Acks = Annotated[
    bool | None,
    typer.Option(
        "--acks/--no-acks",
        help="Send in producer sessions: ticks are acked, and sent again when they are not.",
    ),
]
ProducerId = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="With --acks: names this producer for ever (fakeclient)."),
]
Limit = Annotated[int | None, typer.Option(help="Stop after this many ticks.")]

Symbols = Annotated[
    str | None,
    typer.Option(metavar="COUNT|LIST", help="500, or AAPL,MSFT (20 of them)."),
]
Seed = Annotated[
    int | None,
    typer.Option(help="The same seed gives the same symbols, prices, volumes (1)."),
]

# The options that may stand before the name of a command too.
_SHARED = {"server", "connections", "retry", "acks", "producer_id", "limit", "encode_ahead"}


@app.callback(invoke_without_command=True)
def walk(
    ctx: typer.Context,
    *,
    server: Server = None,
    symbols: Symbols = None,
    rate: Annotated[
        str | None,
        typer.Option(metavar="TICKS/S", help="Ticks per second, or max (1000)."),
    ] = None,
    seed: Seed = None,
    duration: Annotated[
        float | None,
        typer.Option(help="Seconds (until stopped)."),
    ] = None,
    limit: Limit = None,
    connections: Connections = None,
    messy: Annotated[
        bool | None,
        typer.Option(
            "--messy/--no-messy",
            help='Send symbols like " aApL ", which ingest trims to aApL; only with '
            "INGEST_SYMBOL_CASE=upper they are AAPL.",
        ),
    ] = None,
    decimals: Annotated[
        int | None,
        typer.Option(help="Volumes count so many decimals: with 3, 467 is 0.467 (0)."),
    ] = None,
    trade_ids: Annotated[
        bool | None,
        typer.Option("--trade-ids/--no-trade-ids", help="Give each trade an id."),
    ] = None,
    bad_fraction: Annotated[
        float | None, typer.Option(help="Make this part of the ticks bad, in every way in turn.")
    ] = None,
    encode_ahead: Annotated[
        int | None,
        typer.Option(
            metavar="TICKS",
            help="Encode this many before the clock starts; send them over and over until --limit "
            "or --duration, or once.",
        ),
    ] = None,
    continue_from: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Begin at the last prices that this aggregator knows."
        ),
    ] = None,
    retry: Retry = None,
    acks: Acks = None,
    producer_id: ProducerId = None,
) -> None:
    """Push trades to ingest: a random walk, or the replay of a file.

    Every option has a variable: --bad-fraction is FAKECLIENT_BAD_FRACTION. The option wins.
    """
    given = _given(ctx)
    if ctx.invoked_subcommand is None:
        settings = _read_settings(given)
        _run(settings, walk_job(settings))
    for name in given.keys() - _SHARED:
        raise typer.BadParameter("is for the random walk only", param_hint=_option(name))
    ctx.obj = given


@app.command()
def replay(
    ctx: typer.Context,
    files: arguments.Files,
    *,
    file_format: arguments.Format = None,
    columns: arguments.Columns = None,
    symbol: arguments.Symbol = None,
    delimiter: arguments.Delimiter = None,
    decimal: arguments.DecimalSign = None,
    zone: arguments.Zone = None,
    date: arguments.Day = None,
    dates: arguments.Dates = None,
    conditions: arguments.Conditions = None,
    speed: Annotated[
        str | None,
        typer.Option(metavar="FACTOR", help="1 as it was, 10 ten times as fast, or max (1)."),
    ] = None,
    loop: Annotated[
        bool | None,
        typer.Option("--loop/--no-loop", help="Begin again at the end, with the same timestamps."),
    ] = None,
    limit: Limit = None,
    server: Server = None,
    connections: Connections = None,
    encode_ahead: Annotated[
        int | None,
        typer.Option(metavar="TICKS", help="Encode the first ones before the clock starts."),
    ] = None,
    retry: Retry = None,
    acks: Acks = None,
    producer_id: ProducerId = None,
) -> None:
    """Send the trades of files in the order of time, with the timestamps they have there."""
    before: dict[str, object] = ctx.obj
    settings = _read_settings(before | _given(ctx))
    options = arguments.read_options(
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
    screen = choose_screen(settings.log_level)
    if STDIN in files and (settings.loop or len(files) > 1):
        raise typer.BadParameter("is read once, alone", param_hint="-")
    try:
        replayed = Replayed(find_parts(files), options, screen.say, _complain)
        job = replay_job(settings, replayed)
    except BadFile as exc:
        _fail(str(exc), 1)
    raise typer.Exit(asyncio.run(run(settings, job, screen)))


@app.command()
def day(
    ctx: typer.Context,
    *,
    date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The day in New York (the last weekday)."),
    ] = None,
    symbols: Symbols = None,
    trades: Annotated[
        int, typer.Option(min=1, max=20_000_000, help="Trades in all, about.")
    ] = 400_000,
    seed: Seed = None,
    out: Annotated[Path, typer.Option(help="A .csv or .csv.gz.")] = Path("day.csv.gz"),
) -> None:
    """Write the trades of a made-up trading day to a file, for replay."""
    before: dict[str, object] = ctx.obj
    settings = _read_settings(before | _given(ctx))
    chosen = last_weekday(datetime.now(ZONE).date()) if date is None else date.date()
    rows = trading_day(settings.symbols, chosen, trades, Random(settings.seed))
    try:
        write_trades(out, rows)
    except BadFile as exc:
        _fail(str(exc), 1)
    print_line(
        f"wrote {len(rows):,} trades of {len(settings.symbols):,} symbols on {chosen} to {out}"
    )


def _given(ctx: typer.Context) -> dict[str, object]:
    # Options are named as settings are, so only help and types stand at the commands.
    return {
        name: value
        for name, value in ctx.params.items()
        if value is not None and name in FakeclientSettings.model_fields
    }


def _read_settings(given: dict[str, object]) -> FakeclientSettings:
    try:
        settings = load_settings(FakeclientSettings)
    except SettingsError as exc:
        _fail(str(exc), 2)
    try:
        return FakeclientSettings.model_validate(settings.model_dump() | given)
    except ValidationError as exc:
        error = exc.errors()[0]
        message = f"{error['input']!r}: {error['msg']}"
        raise typer.BadParameter(message, param_hint=_option(str(error["loc"][0]))) from exc


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _run(settings: FakeclientSettings, job: Job) -> NoReturn:
    raise typer.Exit(asyncio.run(run(settings, job, choose_screen(settings.log_level))))


def _complain(line: str) -> None:
    print_line(f"fakeclient: {line}", "stderr")


def _fail(message: str, code: int) -> NoReturn:
    print_line(f"fakeclient: {message}", "stderr")
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="python -m fakeclient")
