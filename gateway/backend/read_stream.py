"""Read states over one open stream to the aggregator."""

# ruff: noqa: ASYNC109  gRPC gives the name

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grpc
import structlog
from google.protobuf.message import DecodeError

from gateway.backend.unary_reads import UnaryReads
from gateway.kernel.encoder import MAX_RECORDS, EncodedState, StateEncoder
from marketdata.streams import StreamOver
from marketdata.wire.market_data_pb2 import ReadRequest, ReadResponse

log = structlog.get_logger()

# Reads that may wait for the aggregator; more of them would wait only while it hangs, and then the
# circuit breaker refuses the next ones.
MAX_WAITING = 1_000
# Messages without an answer. Reads that come meanwhile are the next message together, so messages
# grow with the load. Without this bound, a read of 32 clients cost up to five times as much.
MAX_UNANSWERED = 1
# Symbols of reads that are one message; a single read may have more.
MAX_SYMBOLS = 500

Call = grpc.aio.StreamStreamCall[bytes, bytes]
Answer = list[EncodedState] | grpc.aio.AioRpcError
Done = Callable[[Answer], None]

_LOST = frozenset({grpc.StatusCode.OK, grpc.StatusCode.CANCELLED})
# How gRPC says that the server reset the stream, as it does while it stops.
_RESET = "RST_STREAM"


class _Read(NamedTuple):
    symbols: Sequence[str]
    # In the time of the event loop.
    deadline: float
    done: Done


def open_reads(channel: grpc.aio.Channel) -> Callable[[], Call]:
    """Return ``ReadAggregates`` of the aggregator, with requests and responses as bytes."""
    method: Callable[[], Call] = channel.stream_stream(
        "/marketdata.MarketDataService/ReadAggregates",
        request_serializer=None,
        response_deserializer=None,
    )
    return method


class ReadStream:
    """Read states over one stream, which the first read opens, and the next one after a loss.

    When the stream is lost, the reads that wait fail as if the aggregator were unavailable.

    Args:
        open_stream: opens the stream, see :func:`open_reads`.
        unary: reads instead where the aggregator has no such stream.
    """

    def __init__(self, open_stream: Callable[[], Call], unary: UnaryReads) -> None:
        self._open = open_stream
        self._unary = unary
        self._loop = asyncio.get_running_loop()
        self._encoder = StateEncoder()
        # Numbers reads and messages.
        self._last = 0
        # By their number.
        self._waiting: dict[int, _Read] = {}
        # The reads that are not sent yet, in order, and whether each must be a message alone; and
        # those of each message without an answer.
        self._unsent: dict[int, bool] = {}
        self._sent: dict[int, list[int]] = {}
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_over = False
        # Whether the present stream has answered.
        self._has_answered = False
        # Until an aggregator of another version may be there.
        self.is_missing = False

    def begin(self, symbols: Sequence[str], timeout_s: float, done: Done) -> None:
        """Read states, and call ``done`` once with them or with the error, maybe at once."""
        if self._is_over:
            done(_error(grpc.StatusCode.CANCELLED, "the gateway is stopping"))
        elif len(self._waiting) >= MAX_WAITING:
            done(_error(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WAITING} reads wait already"))
        else:
            number = self._last = self._last + 1
            deadline = self._loop.time() + timeout_s
            self._waiting[number] = _Read(symbols, deadline, done)
            self._unsent[number] = False
            self._changed.set()
            if self._timer is None or deadline < self._timer_at:
                self._set_timer(deadline)

    async def __call__(self, symbols: Sequence[str], /, *, timeout: float) -> list[EncodedState]:
        """Return the states of those of ``symbols`` that have one, in one call.

        Raises:
            grpc.aio.AioRpcError: the aggregator refused the read, or did not answer in time.
        """
        if self.is_missing:
            return await self._read_unary(symbols, timeout)
        answered: asyncio.Future[Answer] = self._loop.create_future()

        def done(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        deadline = self._loop.time() + timeout
        self.begin(symbols, timeout, done)
        answer = await answered
        if isinstance(answer, list):
            return answer
        if answer.code() is grpc.StatusCode.UNIMPLEMENTED:
            return await self._read_unary(symbols, deadline - self._loop.time())
        raise answer

    async def _read_unary(self, symbols: Sequence[str], timeout: float) -> list[EncodedState]:
        try:
            return await self._unary(symbols, timeout=timeout)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.UNAVAILABLE:
                # The next aggregator may be a newer one.
                self.is_missing = False
            raise

    async def run(self) -> None:
        """Carry reads until cancelled."""
        try:
            while True:
                while not self._waiting:
                    self._changed.clear()
                    await self._changed.wait()
                await self._carry()
        finally:
            self._is_over = True
            if self._timer is not None:
                self._timer.cancel()
            self._fail_all(_error(grpc.StatusCode.CANCELLED, "the gateway is stopping"))

    async def _carry(self) -> None:
        call = self._open()
        self._has_answered = False
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(call))
                tasks.create_task(self._receive(call))
        except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, StreamOver):
            # InvalidStateError is a write on a call that has ended.
            pass
        finally:
            call.cancel()
            # Wait for its end, so that nothing of it is left.
            code, details = await call.code(), await call.details()
        if self._has_answered:
            log.warning(
                "read_stream_lost", code=code.name, details=details, waiting=len(self._waiting)
            )
        if code is grpc.StatusCode.UNIMPLEMENTED:
            self.is_missing = True
        elif code in _LOST or (code is grpc.StatusCode.INTERNAL and _RESET in (details or "")):
            code = grpc.StatusCode.UNAVAILABLE
        self._fail_all(_error(code, details))

    async def _send(self, call: Call) -> None:
        while True:
            while self._unsent and len(self._sent) < MAX_UNANSWERED:
                await call.write(self._next_request())
            self._changed.clear()
            await self._changed.wait()

    def _next_request(self) -> bytes:
        numbers: list[int] = []
        symbols: Sequence[str] = ()
        for number, alone in self._unsent.items():
            further = self._waiting[number].symbols
            if numbers and (alone or len(symbols) + len(further) > MAX_SYMBOLS):
                break
            numbers.append(number)
            symbols = [*symbols, *further] if symbols else further
            if alone:
                break
        for number in numbers:
            del self._unsent[number]
        self._last += 1
        self._sent[self._last] = numbers
        if len(numbers) > 1:
            symbols = list(dict.fromkeys(symbols))
        return ReadRequest(id=self._last, symbols=symbols).SerializeToString()

    async def _receive(self, call: Call) -> None:
        while isinstance(data := await call.read(), bytes):
            try:
                self._take(data)
            except DecodeError as exc:
                log.warning("read_malformed", problem=str(exc))
                break
        raise StreamOver

    def _take(self, data: bytes) -> None:
        states, end = self._encoder.encode_aggregates(data)
        found = states
        while len(found) == MAX_RECORDS:
            found, end = self._encoder.encode_aggregates(data, end)
            states += found
        rest = ReadResponse.FromString(data[end:])
        # Another implementation may write the fields in another order.
        for each in rest.aggregates:
            states.append(self._encoder.encode_aggregate(each.SerializeToString()))
        self._has_answered = True
        # Empty: all of them were given up.
        numbers = self._sent.pop(rest.id, ())
        self._changed.set()
        if len(numbers) == 1:
            problem = rest.problem
            refusal = _error(grpc.StatusCode.INVALID_ARGUMENT, problem) if problem else None
            self._answer(numbers[0], refusal or states)
        elif rest.problem:
            # It concerns one of them, so each is asked again alone.
            self._unsent |= {number: True for number in numbers if number in self._waiting}
        else:
            self._share(numbers, states)

    def _share(self, numbers: Sequence[int], states: Sequence[EncodedState]) -> None:
        found = {state.symbol.decode(): state for state in states}
        for number in numbers:
            if (read := self._waiting.get(number)) is not None:
                self._answer(number, [found[each] for each in read.symbols if each in found])

    def _answer(self, number: int, answer: Answer) -> None:
        read = self._waiting.pop(number, None)
        # None: it was given up.
        if read is not None:
            try:
                read.done(answer)
            except Exception:
                # At the edge of a task: other reads go on.
                log.exception("read_failed")

    def _fail_all(self, error: grpc.aio.AioRpcError) -> None:
        self._unsent.clear()
        self._sent.clear()
        # Those that begin meanwhile are not meant.
        for number in list(self._waiting):
            self._answer(number, error)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._expire)

    # One timer for all: it costs a read nothing, and comes at most twice per timeout.
    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = [number for number, read in self._waiting.items() if read.deadline <= now]
        for number in late:
            self._unsent.pop(number, None)
            self._answer(number, _error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
        # A message that nobody waits for keeps no other back.
        for message, numbers in list(self._sent.items()):
            if self._waiting.keys().isdisjoint(numbers):
                del self._sent[message]
                self._changed.set()
        if self._waiting and self._timer is None:
            self._set_timer(min(read.deadline for read in self._waiting.values()))


def _error(code: grpc.StatusCode, details: str | None) -> grpc.aio.AioRpcError:
    nothing: Any = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, details=details)
