"""``python -m aggregator replay`` and ``rebuild bars``: apply a tick log once more."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Annotated

import grpc
import typer
from google.protobuf import json_format

from aggregator.bars.bar import Bar
from aggregator.bars.candle import MAX_INT64
from aggregator.checkpoint.state import load
from aggregator.core import Core
from aggregator.machine.inputs import Batch, parse_input
from aggregator.machine.recovery import Found, Readable, Replay, find_beginning, recover
from aggregator.settings import AggregatorSettings
from aggregator.ticklog.log import Kind, Record
from aggregator.ticklog.readonly import open_readonly
from marketdata.errors import MarketDataError, StartError
from marketdata.printing import print_line
from marketdata.settings import load_settings
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire

PUBLISH_TICKS = "/marketdata.MarketDataService/PublishTicks"
Publish = grpc.aio.StreamStreamMultiCallable[bytes, wire.BatchAck]
# Batches that may be on their way to another aggregator.
MAX_UNACKED = 16
# How long a store may take for the bars that wait at the end.
DRAIN_S = 3_600.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

rebuild_app = typer.Typer(
    no_args_is_help=True, help="Make the stored bars again from the tick log."
)

Directory = Annotated[
    str,
    typer.Option(
        "--log", metavar="DIR", envvar="AGGREGATOR_LOG", help="The directory of the tick log."
    ),
]


def replay(
    directory: Directory = "off",
    from_time: Annotated[
        str, typer.Option("--from", help="Arrival time, such as 2026-11-30T14:30:00Z.")
    ] = "",
    to_time: Annotated[str, typer.Option("--to", help="Arrival time; what came later stays.")] = "",
    speed: Annotated[
        str, typer.Option(help="How many times as fast as the ticks came, or max.")
    ] = "max",
    into: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Send the ticks to this aggregator.")
    ] = "",
) -> None:
    """Apply the ticks of a log once more, by the times at which they came.

    Without --into, the bars that close are printed, a JSON object per line: the same bars as when
    the ticks came, and under the present settings. With it, another aggregator gets the batches.
    """
    with _reporting():
        part = _Part(_parse_time("--from", from_time, 0), _parse_time("--to", to_time, MAX_INT64))
        pace = _Pace(_parse_speed(speed))
        tick_log = _open(directory)
        run = _send(tick_log, part, pace, into) if into else _print(tick_log, part, pace)
        print_line(asyncio.run(run), "stderr")


@rebuild_app.command("bars")
def rebuild_bars(
    directory: Directory = "off",
    store: Annotated[
        str, typer.Option(envvar="AGGREGATOR_STORE", help="The new store; it must have no bars.")
    ] = "",
) -> None:
    """Fill an empty store with every bar that follows from the tick log."""
    with _reporting():
        settings = _settings(**({"store": store} if store else {}))
        print_line(asyncio.run(_rebuild(_open(directory), settings)), "stderr")


class _Part:
    """The records that a replay shows: those that came in some time."""

    def __init__(self, from_ns: int, to_ns: int) -> None:
        self.from_ns = from_ns
        self._to_ns = to_ns

    def of(self, records: Iterator[Record]) -> Iterator[Record]:
        """Give the records up to the end of the time, also the earlier ones."""
        for record in records:
            if record.time_ns > self._to_ns:
                return
            yield record


class _Pace:
    """When each record is due.

    Args:
        speed: how many times as fast as they came; 0: at once.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began: tuple[float, int] | None = None

    async def wait_for(self, time_ns: int) -> None:
        """Wait until a record is due that came at this time."""
        if not self._speed:
            return
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now, time_ns
        due = self._began[0] + (time_ns - self._began[1]) / NS_PER_S / self._speed
        if due > now:
            await asyncio.sleep(due - now)


class _Printer:
    """Print closed bars, once their time has come."""

    def __init__(self) -> None:
        self.is_on = False
        self.printed = 0

    def put(self, bars: Sequence[Bar]) -> None:
        """Take bars that closed or were revised."""
        if not self.is_on:
            return
        for bar in bars:
            message = bar.to_message(0)
            # Of one run, so it differs between two.
            message.ClearField("sequence")
            print_line(json_format.MessageToJson(message, indent=None))
            self.printed += 1


async def _print(tick_log: Readable, part: _Part, pace: _Pace) -> str:
    core = _make_core(_settings(store="off"))
    printer = _Printer()
    core.market.book.engine.output.sink = printer
    found = _beginning(tick_log, core)
    if found.content is not None:
        load(found.content, core.state)
    applying = Replay(core.machine, found.offset)
    for record in part.of(tick_log.read_from(found.offset)):
        printer.is_on = record.time_ns >= part.from_ns
        if printer.is_on:
            await pace.wait_for(record.time_ns)
        applying.apply(record.kind, record.offset, record.time_ns, record.payload)
    done = applying.finish()
    return f"{done.ticks:,} ticks of {done.records:,} records, {printer.printed:,} bars"


async def _send(tick_log: Readable, part: _Part, pace: _Pace, address: str) -> str:
    accepted = duplicates = rejected = 0
    unacked: deque[Record] = deque()
    async with grpc.aio.insecure_channel(address) as channel:
        publish: Publish = channel.stream_stream(
            PUBLISH_TICKS, response_deserializer=wire.BatchAck.FromString
        )
        call = publish()

        async def read_ack() -> None:
            nonlocal accepted, duplicates, rejected
            ack = await call.read()
            if not isinstance(ack, wire.BatchAck):
                raise StartError(f"{address} ended the stream: {await call.details()}")
            unacked.popleft()
            accepted += ack.accepted
            duplicates += ack.duplicates
            rejected += len(ack.rejections)

        try:
            for record in part.of(tick_log.read_from(tick_log.first_offset)):
                each = parse_input(record.kind, record.payload) if _is_batch(record) else None
                if not isinstance(each, Batch) or record.time_ns < part.from_ns:
                    continue
                await pace.wait_for(record.time_ns)
                await call.write(each.data)
                unacked.append(record)
                if len(unacked) == MAX_UNACKED:
                    await read_ack()
            while unacked:
                await read_ack()
            await call.done_writing()
            # Else the aggregator takes us for a producer that was lost.
            await call.code()
        except grpc.aio.AioRpcError as exc:
            raise StartError(f"{address}: {exc.details() or exc.code().name}") from exc
    return f"{accepted:,} ticks accepted, {duplicates:,} duplicates, {rejected:,} rejected"


async def _rebuild(tick_log: Readable, settings: AggregatorSettings) -> str:
    core = _make_core(settings)
    store = core.store
    if store is None:
        raise StartError("there is no store to fill: AGGREGATOR_STORE is off")
    found = _beginning(tick_log, core)
    await store.start()
    if not await store.is_empty():
        raise StartError("the store has bars; name an empty one, or move its file away")
    done = await recover(tick_log, found, core.machine, core.state, wait_for_room=store.room.wait)
    await store.save_refusals(core.refusals.take_changes())
    bars, spans = core.market.book.engine.present_bars(), core.feeds.all_spans(core.clock())
    if not await store.stop(DRAIN_S, bars, spans, None):
        raise StartError("the store did not take every bar")
    begin = "" if found.content is None else "; bars that had closed before it begins are missing"
    return f"{done.ticks:,} ticks of {done.records:,} records in {settings.store}{begin}"


def _make_core(settings: AggregatorSettings) -> Core:
    # What is applied has the times of the records; nothing else asks for the time.
    return Core(settings, time.time_ns, lambda _works: None)


def _beginning(tick_log: Readable, core: Core) -> Found:
    found = find_beginning(tick_log, core.fingerprint)
    if found is None:
        raise StartError(
            "the first records of the log are gone, and no checkpoint was made with these settings"
        )
    return found


def _is_batch(record: Record) -> bool:
    return record.kind is Kind.BATCH


def _settings(**changes: str) -> AggregatorSettings:
    return load_settings(AggregatorSettings).model_copy(update=changes)


def _open(directory: str) -> Readable:
    if directory == "off":
        raise StartError("there is no log to read: name it with --log, or AGGREGATOR_LOG")
    return open_readonly(Path(directory))


def _parse_time(name: str, text: str, absent: int) -> int:
    if not text:
        return absent
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise StartError(f"{name}: {text!r} is no time such as 2026-11-30T14:30:00Z") from exc
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # A float has no nanoseconds, and a time in a command has no more than microseconds.
    return (moment - _EPOCH) // _MICROSECOND * 1_000


def _parse_speed(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < inf:
        raise StartError(f"--speed: {text!r} is neither a number over 0 nor max")
    return speed


@contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except MarketDataError as exc:
        print_line(str(exc), "stderr")
        raise typer.Exit(1) from exc
