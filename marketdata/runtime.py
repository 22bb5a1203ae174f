"""Run one service: settings, log, signals, exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog
from structlog.typing import EventDict, Processor

from marketdata.channel import tune_grpc
from marketdata.errors import SettingsError, StartError
from marketdata.log_writer import LogWriter, take_over_stderr
from marketdata.settings import ServiceSettings, load_settings

log = structlog.get_logger()

# A traceback without the values of variables: they may be secrets, and make lines of 100 KB.
_plain = structlog.dev.plain_traceback
_EXCEPTION_FIELDS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, use_rich=False)
)

# How long a service whose deadline has passed may take for what must not be cut short.
CANCEL_S = 0.5

_STOPPING = (signal.SIGTERM, signal.SIGINT)


class LogSettings(Protocol):
    """The settings of a log."""

    @property
    def log_level(self) -> str:
        """The lowest level that is written."""

    @property
    def log_format(self) -> str:
        """How lines look."""


S = TypeVar("S", bound=ServiceSettings)
# The settings of a program. With ``shutdown_deadline_s``, it must end within that time.
P = TypeVar("P", bound=LogSettings)

# The main function of a program: run until the event is set, stop in order, return the exit code.
Main = Callable[[P, asyncio.Event], Awaitable[int]]


def run_service(name: str, settings_class: type[S], main: Main[S]) -> None:
    """Run ``main`` until SIGTERM or SIGINT and exit with its code.

    A service that cannot start says why in one line and exits 1; a wrong setting exits 2.
    """
    run_program(name, partial(load_settings, settings_class), main)


def run_program(
    name: str, load: Callable[[], P], main: Main[P], processors: Sequence[Processor] = ()
) -> None:
    """Run a program of one service or several, as :func:`run_service` does.

    Args:
        name: of the program.
        load: returns its settings.
        main: runs until the event is set, and returns the exit code.
        processors: of structlog; log lines pass them before any other.
    """
    log_writer = take_over_stderr(_describe_loss)
    code = 1
    try:
        code = _run(name, load, main, log_writer, processors)
    except Exception:
        traceback.print_exc()
    finally:
        log_writer.close()
    sys.exit(code)


def _run(
    name: str,
    load: Callable[[], P],
    main: Main[P],
    log_writer: LogWriter,
    processors: Sequence[Processor],
) -> int:
    try:
        settings = load()
    except StartError as exc:
        return _complain(name, exc, 2)
    configure_log(name, settings, log_writer, processors)
    tune_grpc()
    try:
        return asyncio.run(_run_until_signal(settings, main))
    except StartError as exc:
        # Some settings are understood only when what they name is loaded.
        return _complain(name, exc, 2 if isinstance(exc, SettingsError) else 1)


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


async def _run_until_signal(settings: P, main: Main[P]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        # A second signal changes nothing: a Ctrl-C in a terminal reaches each process, and `make
        # run` ends each process too.
        loop.add_signal_handler(number, stop.set)
    try:
        return await _run_until_stopped(settings, main, stop)
    finally:
        for number in _STOPPING:
            # Else it ends the process while that ends by itself, and the exit code is the signal's.
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def _run_until_stopped(settings: P, main: Main[P], stop: asyncio.Event) -> int:
    running = asyncio.ensure_future(main(settings, stop))
    deadline_s = getattr(settings, "shutdown_deadline_s", None)
    if deadline_s is None:
        return await running
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        await asyncio.wait([running], timeout=deadline_s)
    stopping.cancel()
    if not running.done():
        log.error("shutdown_deadline_passed", deadline_s=deadline_s)
        running.cancel()
        await asyncio.wait([running], timeout=CANCEL_S)
        return 1
    return running.result()


def _complain(name: str, error: StartError, code: int) -> int:
    print(f"{name}: {error}", file=sys.stderr)  # noqa: T201  there may be no log yet
    return code


def configure_log(
    name: str,
    settings: LogSettings,
    log_writer: LogWriter,
    processors: Sequence[Processor] = (),
) -> None:
    """Send structured log lines to the writer, each with the service's name.

    Warnings of libraries become such lines, too.
    """
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    brief = settings.log_format == "brief"
    renderer: Processor = structlog.processors.JSONRenderer()
    if brief:
        renderer = structlog.dev.ConsoleRenderer(
            colors=False, pad_event=0, pad_level=False, exception_formatter=_plain
        )
    elif not as_json:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_plain
        )

    def add_service(_: object, __: str, event: EventDict) -> EventDict:
        # Not a context variable: those of other threads are their own.
        event.setdefault("service", name)
        return event

    structlog.configure(
        processors=[
            *processors,
            *([] if brief else [add_service]),
            structlog.processors.add_log_level,
            *([] if brief else [structlog.processors.TimeStamper(fmt="iso", utc=True)]),
            _EXCEPTION_FIELDS if as_json else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level.upper()]
        ),
        logger_factory=lambda *_: _LineLogger(log_writer),
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING)
    logging.captureWarnings(True)


class _LineLogger:
    """The end of structlog's way: put rendered lines into the log."""

    def __init__(self, log_writer: LogWriter) -> None:
        self._put = log_writer.put

    def msg(self, line: str) -> None:
        self._put(line + "\n")

    debug = info = warning = error = critical = msg


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        log.log(record.levelno, message, logger=record.name, exc_info=record.exc_info)


def _describe_loss(lost: int) -> str:
    # Rendered like every line. The level of the log may leave it out.
    logger: Any = structlog.wrap_logger(structlog.ReturnLogger())
    line = logger.warning("log_lines_lost", count=lost)
    return f"{line}\n" if isinstance(line, str) else ""
