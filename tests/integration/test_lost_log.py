"""The log of a service cannot be written: the service works as ever."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import orjson
import pytest

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import (
    connect,
    make_tick,
    open_stub,
    run_aggregator,
    send,
    wait_for_trades,
)
from tests.doubles.ports import free_port
from tests.doubles.processes import TIMEOUT_S, bound

UNREACHABLE = "127.0.0.1:1"
SERVICES = ("ingest", "aggregator", "gateway")
# Each bad frame is a log line, and its connection two more.
BAD_FRAME = b"\x00\x00\x00\x00"


@contextlib.contextmanager
def full_disk() -> Iterator[int]:
    """Give a standard error on a disk that is full."""
    with Path("/dev/full").open("wb") as full:
        yield full.fileno()


@contextlib.contextmanager
def pipe_without_a_reader() -> Iterator[int]:
    """Give a standard error whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextlib.contextmanager
def full_pipe() -> Iterator[int]:
    """Give a standard error that nobody reads."""
    reader, writer = os.pipe()
    fill(writer)
    yield writer
    os.close(reader)
    os.close(writer)


def fill(pipe: int) -> None:
    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b"." * size)
    # The flag belongs to the pipe, so the service would have it too.
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags)


Stderr = Callable[[], contextlib.AbstractContextManager[int]]
UNWRITABLE = (full_disk, pipe_without_a_reader, full_pipe)


@contextlib.asynccontextmanager
async def run_with_stderr(
    module: str, stderr: int, port: int, **env: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a service, and wait until it listens."""
    prefix = module.upper()
    process = await asyncio.create_subprocess_exec(
        *bound(sys.executable, "-m", module),
        env={
            **os.environ,
            "AGGREGATOR_STORE": "off",
            f"{prefix}_PORT": str(port),
            f"{prefix}_LOG_FORMAT": "json",
            **env,
        },
        stderr=stderr,
    )
    try:
        await until_listening(process, port)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_listening(process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            assert process.returncode is None, f"it ended with {process.returncode}"
            with contextlib.suppress(ConnectionRefusedError):
                async with connect(port):
                    return
            await asyncio.sleep(0.05)


async def stop(process: asyncio.subprocess.Process) -> int:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(15):
        return await process.wait()


@pytest.mark.parametrize("stderr", UNWRITABLE)
@pytest.mark.parametrize("module", SERVICES)
async def test_a_service_starts_and_stops_without_its_log(module: str, stderr: Stderr) -> None:
    with stderr() as descriptor:
        async with run_with_stderr(module, descriptor, free_port()) as process:
            assert await stop(process) == 0


@pytest.mark.parametrize("stderr", UNWRITABLE)
async def test_ingest_takes_every_tick_without_its_log(
    stderr: Stderr,
) -> None:
    port = free_port()
    async with run_aggregator() as aggregator:
        address = f"127.0.0.1:{aggregator.port}"
        with stderr() as descriptor:
            async with run_with_stderr(
                "ingest", descriptor, port, INGEST_AGGREGATOR=address
            ) as process:
                for _ in range(50):
                    await send(port, [make_tick(), make_tick()])
                assert (await wait_for_trades(aggregator, "AAPL", 100)).trades == 100
                assert await stop(process) == 0


async def test_an_aggregator_whose_log_nobody_reads_goes_on_for_ever() -> None:
    port = free_port()
    with full_pipe() as descriptor:
        async with run_with_stderr("aggregator", descriptor, port) as process:
            async with open_stub(port) as stub:
                # A line per second of rejected ticks, among others.
                for _ in range(3):
                    ticks = [make_tick(price=-1), make_tick()]
                    await stub.StreamTicks(iter(ticks))
                answer = await stub.GetAggregate(wire.AggregateRequest(symbol="AAPL"))
                assert answer.trades == 3
            assert await stop(process) == 0


async def test_lost_lines_are_counted_in_a_later_line() -> None:
    reader, writer = os.pipe()
    fill(writer)
    port = free_port()
    async with run_with_stderr("ingest", writer, port, INGEST_AGGREGATOR=UNREACHABLE) as process:
        os.close(writer)

        async def break_a_frame() -> None:
            async with connect(port) as (stream, out):
                out.write(BAD_FRAME)
                with contextlib.suppress(ConnectionResetError):
                    await stream.read()

        # More lines than may wait.
        for _ in range(100):
            await asyncio.gather(*(break_a_frame() for _ in range(100)))
        loop = asyncio.get_running_loop()
        stream = asyncio.StreamReader(limit=2**20)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reader, "rb")
        )
        async with asyncio.timeout(TIMEOUT_S):
            assert await stop(process) == 0
            lines = (await stream.read()).lstrip(b".").splitlines()
        transport.close()
    logs = [orjson.loads(line) for line in lines]
    (lost,) = [line for line in logs if line["event"] == "log_lines_lost"]
    said = [
        line
        for line in logs
        if line["event"] in {"producer_connected", "framing_violated", "producer_disconnected"}
    ]
    assert lost["count"] + len(said) >= 30_000
    assert lost["service"] == "ingest"
    # The end of the log is there.
    assert logs[-1]["event"] == "ingest_stopped"


@pytest.mark.parametrize("module", SERVICES)
async def test_a_wrong_setting_is_exit_2_whether_or_not_it_can_be_said(module: str) -> None:
    with full_disk() as descriptor:
        process = await asyncio.create_subprocess_exec(
            *bound(sys.executable, "-m", module),
            env={**os.environ, f"{module.upper()}_PROT": "1"},
            stderr=descriptor,
        )
        assert await process.wait() == 2


async def test_a_service_without_a_standard_error_takes_every_tick() -> None:
    port = free_port()
    async with run_aggregator() as aggregator:
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            'exec "$0" "$@" 2>&-',
            *bound(sys.executable, "-m", "ingest"),
            env={
                **os.environ,
                "INGEST_PORT": str(port),
                "INGEST_AGGREGATOR": f"127.0.0.1:{aggregator.port}",
            },
        )
        try:
            await until_listening(process, port)
            await send(port, [make_tick()] * 3)
            assert (await wait_for_trades(aggregator, "AAPL", 3)).trades == 3
            assert await stop(process) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


PROGRAMS = (
    ("fakeclient", "--no-retry", "--limit", "10"),
    ("aggregator", "import", "/nowhere.csv"),
    ("scripts.run",),
)


@pytest.mark.parametrize(
    ("where", "unwritable"), [("stdout", pipe_without_a_reader), ("stderr", full_disk)]
)
@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
async def test_a_program_whose_output_cannot_be_written_ends_without_a_traceback(
    program: tuple[str, ...], unwritable: Stderr, where: str
) -> None:
    with unwritable() as descriptor:
        streams = dict.fromkeys(("stdout", "stderr"), asyncio.subprocess.PIPE) | {where: descriptor}
        process = await asyncio.create_subprocess_exec(
            *bound(sys.executable, "-m", *program),
            env={**os.environ, "FAKECLIENT_SERVER": UNREACHABLE, "INGEST_PORT": "nonsense"},
            stdout=streams["stdout"],
            stderr=streams["stderr"],
        )
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
        assert process.returncode in {1, 2}
        assert b"Traceback" not in (out or b"") + (err or b"")


async def test_a_traceback_in_the_log_has_no_values_of_variables() -> None:
    code = (
        "import structlog\n"
        "from marketdata.runtime import run_service\n"
        "from ingest.settings import IngestSettings\n"
        "async def main(settings, stop):\n"
        "    password = 'hunter' + '2'\n"
        "    try:\n"
        "        1 / 0\n"
        "    except ZeroDivisionError:\n"
        "        structlog.get_logger().exception('failed')\n"
        "    return 0\n"
        "run_service('ingest', IngestSettings, main)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        env={**os.environ, "INGEST_LOG_FORMAT": "json"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, log = await process.communicate()
    assert orjson.loads(log)["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert b"hunter2" not in log
