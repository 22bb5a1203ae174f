"""The workers as the front sees them: started together, and gone together."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import structlog

from aggregator.settings import AggregatorSettings
from aggregator.shards.frames import make_frame
from aggregator.shards.lane import Lane
from aggregator.shards.worker import ADDRESS_SCHEME
from marketdata.channel import MAX_MESSAGE_BYTES, Options
from marketdata.errors import StartError
from marketdata.wire.shards_pb2 import FromWorker, Start, Stop, ToWorker
from marketdata.workers import start_worker

log = structlog.get_logger()

MODULE = "aggregator"
# Over the store's own deadline; what runs longer is killed.
STOP_MARGIN_S = 10.0
_OPTIONS: Options = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class WorkerFailed(StartError):
    """A worker ended before it served; its own words are in the log."""

    def __init__(self, number: int, code: int) -> None:
        super().__init__(f"worker {number} cannot start, it ended with code {code}")
        self.number = number
        self.code = code


class Member:
    """One worker: its process, and the two ways to it."""

    def __init__(
        self, number: int, process: asyncio.subprocess.Process, lane: Lane, address: str
    ) -> None:
        self.number = number
        self.process = process
        self.lane = lane
        self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self.ready = asyncio.Event()

    def send(self, message: ToWorker) -> None:
        """Tell it something; awaits nothing."""
        self.lane.send(make_frame(message.SerializeToString()))


class Crew:
    """All workers of one life.

    Args:
        settings: of the whole.
        epoch: the life.
        receive: called with the number of a worker and what it says.
        on_failure: called once, when a worker has ended by itself.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        epoch: int,
        receive: Callable[[int, FromWorker], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._epoch = epoch
        self._receive = receive
        self._on_failure = on_failure
        self._directory: Path | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.members: list[Member] = []
        self.failed = False

    async def start(self) -> None:
        """Start all workers and wait until they serve.

        Raises:
            WorkerFailed: one of them does not.
        """
        # Nobody else may enter it.
        self._directory = Path(tempfile.mkdtemp(prefix="aggregator-"))
        for number in range(self._settings.workers):
            self.members.append(await self._start(number))
        log.info("aggregator starting", workers=len(self.members))
        for member in self.members:
            self._tasks.append(asyncio.create_task(self._watch(member)))
        for member in self.members:
            ready = asyncio.create_task(member.ready.wait())
            await asyncio.wait([ready, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            for other in self.members:
                if other.process.returncode is not None:
                    raise WorkerFailed(other.number, other.process.returncode)

    async def stop(self, timeout_s: float) -> int:
        """End all workers in order, or at once if one has failed; return the exit code.

        The numbers of the others may hold ticks that nobody was told of, so after a failure none
        stores what is open.
        """
        self._stopping = True
        for member in self.members:
            await member.channel.close()
            if self.failed:
                member.lane.close()
            else:
                member.send(ToWorker(stop=Stop()))
        waiting = [member.process.wait() for member in self.members]
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s + STOP_MARGIN_S):
                await asyncio.gather(*waiting)
        for member in self.members:
            if member.process.returncode is None:
                log.error("worker does not stop, killing it", number=member.number)
                with suppress(ProcessLookupError):
                    member.process.kill()
                await member.process.wait()
            member.lane.close()
        await asyncio.gather(*self._tasks)
        if self._directory is not None:
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
        return int(self.failed or any(member.process.returncode for member in self.members))

    async def _start(self, number: int) -> Member:
        process, sock = await start_worker(MODULE, number)
        address = f"{ADDRESS_SCHEME}{self._directory}/{number}"
        lane = Lane()
        member = Member(number, process, lane, address)
        lane.received = lambda head, _: self._hear(member, FromWorker.FromString(head))
        lane.ended = lambda: None
        await lane.open(sock)
        start = Start(
            number=number,
            workers=self._settings.workers,
            epoch=self._epoch,
            address=address,
            settings=self._settings.model_dump_json(),
        )
        member.send(ToWorker(start=start))
        return member

    def _hear(self, member: Member, message: FromWorker) -> None:
        self._receive(member.number, message)
        if message.ready:
            member.ready.set()

    async def _watch(self, member: Member) -> None:
        code = await member.process.wait()
        if not self._stopping and not self.failed:
            # One life, one epoch: the others have nothing to go on with.
            log.error("worker died, so all stop", number=member.number, code=code)
            self.failed = True
            self._on_failure()
