"""``python -m aggregator import``: read its options, show its progress, report its result."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from aggregator.importing.files import find_sources
from aggregator.importing.job import Choices, Import, Rules, Screen
from aggregator.importing.progress import Progress as Counts
from aggregator.importing.statements import Way
from aggregator.sessions.calendars import load_rules
from aggregator.settings import AggregatorSettings
from aggregator.store.address import parse_store
from aggregator.store.database import STORE_ERRORS, Database
from aggregator.store.retention import read_retention
from marketdata.errors import MarketDataError, SettingsError
from marketdata.files import arguments
from marketdata.price_rules import DEFAULT_PRICE_RULES
from marketdata.printing import print_line
from marketdata.settings import load_settings
from marketdata.timestamps import NS_PER_S

# The settings that decide what is imported of a file, and into which bars.
_SETTINGS = (
    "session",
    "calendars",
    "bar_anchor",
    "timestamp_unit",
    "symbol_case",
    "price_rule",
    "max_price",
    "max_volume",
)
# How long to wait while a running aggregator writes.
_BUSY_S = 30.0


def import_files(
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
    store: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the bars go (AGGREGATOR_STORE)."),
    ] = None,
    join: Annotated[
        bool,
        typer.Option("--join", help="No trade is in two files, nor stored already: add them all."),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Make the bars of these files alone, also stored ones."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Store nothing if a row is not a valid trade.")
    ] = False,
) -> None:
    """Make bars of old trades and store them; no running aggregator is needed.

    The trades are added to the bars of files that were imported before. A file that was imported
    before, under whatever name, is left out. Files that may have the same trades are refused. If
    one of the files cannot be used, nothing is stored. After an interruption the same command goes
    on.
    """
    settings = _read_settings(store)
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
    url = parse_store(settings.store)
    if url is None:
        _fail("AGGREGATOR_STORE is off, so there is no store to import into", 2)
    database = Database(url, busy_s=_BUSY_S)
    try:
        asyncio.run(
            _import(
                settings,
                database,
                files,
                Choices(
                    Way.REPLACE if replace else Way.JOIN if join else Way.ADD,
                    distinct=join,
                    strict=strict,
                    files=options,
                ),
            )
        )
    except MarketDataError as exc:
        _fail(str(exc), 1)
    except STORE_ERRORS as exc:
        _fail(f"{database.name}: {database.problem(exc)}", 1)
    except KeyboardInterrupt:
        _fail("interrupted; the same command continues from here", 130)


async def _import(
    settings: AggregatorSettings,
    database: Database,
    files: list[Path],
    choices: Choices,
) -> None:
    plan = settings.bar_plan()
    anchored = settings.bar_anchor == "session"
    sessions = load_rules(settings.session, settings.calendars, anchored=anchored)
    rules = Rules(
        plan.by_clock,
        sessions.rule_for,
        # A file whose times change their unit is a mistake, so the other rows are refused.
        settings.tick_rules(one_unit=True),
        settings.max_symbols,
        settings.tick_rules(one_unit=True, timestamp_unit="ns"),
        settings=[
            f"AGGREGATOR_{name.upper()}={getattr(settings, name)}"
            for name in _SETTINGS
            # So that the files of earlier versions have the same settings.
            if name != "price_rule" or settings.price_rule != DEFAULT_PRICE_RULES
        ],
    )
    with ExitStack() as stack:
        console = Console()
        screen = _LiveScreen(stack, console) if console.is_terminal else _PlainScreen()
        try:
            if await database.migrate():
                _say(f"{database.name} was there, but had no bars any more")
            job = Import(
                database,
                find_sources(files, stack),
                rules,
                choices,
                retention=read_retention(settings.retention),
                screen=screen,
                clock=time.time_ns,
            )
            began = time.monotonic()
            try:
                await job.run()
            except MarketDataError:
                _report_rows(job.progress)
                raise
        finally:
            await database.close()
    _report(job, time.monotonic() - began, [i.name for i in plan.by_trades])
    if job.progress.left:
        _fail(
            f"{job.progress.left:,} bars were left as they are: live trades came meanwhile",
            1,
        )


def _report_rows(progress: Counts) -> None:
    for reason, count in progress.bad.most_common():
        _say(f"{count:,} rows are not valid trades: {reason}")
    for example in progress.examples:
        _say(f"  {example}")


def _report(job: Import, seconds: float, left_out: list[str]) -> None:
    progress = job.progress
    if job.resumed:
        _say("continued where the last attempt ended")
    for path, why in job.repeated:
        _say(f"{path} {why}, so it is left out")
    _report_rows(progress)
    if progress.out_of_session:
        _say(f"{progress.out_of_session:,} times a trade belongs to no trading day")
    if job.incomplete:
        _say(f"{job.incomplete:,} bars are not complete: rows of their time are not valid trades")
    if job.dropped:
        _say(f"{job.dropped:,} bars are older than AGGREGATOR_RETENTION keeps them")
    if left_out:
        _say(f"not imported, because they do not end by the clock: {' '.join(left_out)}")
    if progress.duplicates:
        _say(f"{progress.duplicates:,} trades were counted before: they have the same ids")
    if progress.trades:
        first, last = (
            datetime.fromtimestamp(ts // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")
            for ts in (progress.first_ts, progress.last_ts)
        )
        _say(f"{progress.trades:,} trades from {first} to {last} UTC")
    _say(f"{progress.written:,} bars are new or different, in {seconds:.1f} s")


class _PlainScreen(Screen):
    # For a file or a pipe: a line for each step, and nothing that moves.

    def reading(self, name: str, size: int) -> None:
        _say(f"reading {name} ({size / 1e6:,.1f} MB)")

    def understood(self, name: str, title: str) -> None:
        _say(f"{name}: {title}")

    def read(self, position: int) -> None:
        pass

    def storing(self, bars: int) -> None:
        _say(f"storing {bars:,} bars")

    def stored(self, bars: int) -> None:
        pass


class _LiveScreen(Screen):
    # For a terminal.

    def __init__(self, stack: ExitStack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def reading(self, name: str, size: int) -> None:
        self._begin(DownloadColumn(), f"reading {PurePath(name).name}", size)

    def understood(self, name: str, title: str) -> None:
        self._console.print(f"{name}: {title}", markup=False, highlight=False)

    def read(self, position: int) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=position)

    def storing(self, bars: int) -> None:
        self._begin(MofNCompleteColumn(), "storing bars", bars)

    def stored(self, bars: int) -> None:
        if self._progress is not None:
            self._progress.advance(self._task, bars)

    def _begin(self, amount: DownloadColumn | MofNCompleteColumn, title: str, total: int) -> None:
        self._stack.close()
        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            amount,
            TimeRemainingColumn(),
            console=self._console,
        )
        self._progress = self._stack.enter_context(progress)
        self._task = progress.add_task(title, total=total)


def _read_settings(store: str | None) -> AggregatorSettings:
    try:
        settings = load_settings(AggregatorSettings)
        if store is None:
            return settings
        return AggregatorSettings.model_validate(settings.model_dump() | {"store": store})
    except SettingsError as exc:
        _fail(str(exc), 2)
    except ValidationError as exc:
        # Only the message: the value may contain a password.
        raise typer.BadParameter(exc.errors()[0]["msg"], param_hint="--store") from None


def _say(line: str) -> None:
    print_line(line)


def _fail(message: str, code: int) -> NoReturn:
    print_line(f"aggregator import: {message}", "stderr")
    raise typer.Exit(code)
