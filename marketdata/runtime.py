"""Run one service: settings, log, signals, exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from marketdata.channel import tune_grpc
from marketdata.errors import SettingsError, StartError
from marketdata.settings import ServiceSettings, load_settings

S = TypeVar("S", bound=ServiceSettings)

# The main function of a service: run until the event is set, stop in order, return the exit code.
Main = Callable[[S, asyncio.Event], Awaitable[int]]


def run_service(name: str, settings_class: type[S], main: Main[S]) -> None:
    """Run ``main`` until SIGTERM or SIGINT and exit with its code.

    A service that cannot start says why in one line and exits 1; a wrong setting exits 2.
    """
    try:
        settings = load_settings(settings_class)
    except StartError as exc:
        sys.exit(_complain(name, exc, 2))
    configure_log(name, settings)
    tune_grpc()
    try:
        code = asyncio.run(_run_until_signal(settings, main))
    except StartError as exc:
        # Some settings are understood only when what they name is loaded.
        code = _complain(name, exc, 2 if isinstance(exc, SettingsError) else 1)
    sys.exit(code)


def collect_rarely(full: int) -> None:
    """Let the garbage collector pause a process that has started less often.

    Objects that exist now are never looked at again. Python's own thresholds, 700, 10 and 10, give
    many small collections, and full ones that look at all objects made since.

    Args:
        full: how many collections of the middle generation, of 200,000 objects each, there are at
            least between two full ones.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, full)


async def _run_until_signal(settings: S, main: Main[S]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await main(settings, stop)


def _complain(name: str, error: StartError, code: int) -> int:
    print(f"{name}: {error}", file=sys.stderr)  # noqa: T201  there may be no log yet
    return code


def configure_log(name: str, settings: ServiceSettings) -> None:
    """Send structured log lines to standard error, each with the service's name."""
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    brief = settings.log_format == "brief"
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if brief:
        renderer = structlog.dev.ConsoleRenderer(colors=False, pad_event=0, pad_level=False)
    elif not as_json:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([] if brief else [structlog.processors.TimeStamper(fmt="iso", utc=True)]),
            structlog.processors.dict_tracebacks
            if as_json
            else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level.upper()]
        ),
        # One write per line: lines of services that share a terminal stay whole.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    if not brief:
        structlog.contextvars.bind_contextvars(service=name)
