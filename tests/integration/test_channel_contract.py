"""A channel keeps its promises over a socket and within the process."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata.channel import MAX_MESSAGE_BYTES
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.channels import (
    ON_THE_WAY,
    Kind,
    Side,
    serving,
    stream_stream,
    stream_unary,
    unary_stream,
    unary_unary,
)

Context = grpc.aio.ServicerContext[Any, Any]
Code = grpc.StatusCode

KINDS: tuple[Kind, ...] = ("grpc", "inprocess")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


async def echo(request: bytes, _context: Context) -> bytes:
    return request


async def echo_all(requests: AsyncIterator[bytes], context: Context) -> None:
    async for request in requests:
        await context.write(request)


class Waiting:
    """A handler that says when it runs, and when and how it ends."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended: asyncio.Future[BaseException | None] = (
            asyncio.get_running_loop().create_future()
        )

    async def __call__(self, _request: Any, context: Context) -> bytes:
        """Wait for ever."""
        self.began.set()
        try:
            await asyncio.get_running_loop().create_future()
        except BaseException as exc:
            if not self.ended.done():
                self.ended.set_result(exc)
            raise
        return b""

    def handler(self) -> Callable[[Any, Context], Any]:
        """Return it as a coroutine function, which gRPC asks for."""

        async def wait(request: Any, context: Context) -> bytes:
            return await self(request, context)

        return wait

    async def was_cancelled(self) -> bool:
        """Wait until it has ended; return whether by a cancellation."""
        return isinstance(await self.ended, asyncio.CancelledError)


async def read_all(call: Any) -> list[Any]:
    messages = []
    while (message := await call.read()) is not grpc.aio.EOF:
        messages.append(message)
    return messages


async def failure_of(awaited: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await awaited
    return failure.value


# One message in each direction.


async def test_a_response_comes_back(kind: Kind) -> None:
    async with serving(kind, {"Echo": unary_unary(echo)}) as side:
        call = side.call("unary_unary", "Echo")(b"hello", timeout=20)
        assert await call == b"hello"
        assert await call == b"hello"
        assert await call.code() is Code.OK
        assert call.done()
        assert not call.cancelled()
        assert not call.cancel()


async def test_messages_pass_through_the_serializers_of_both_sides(kind: Kind) -> None:
    seen: list[wire.Tick] = []

    async def take(tick: wire.Tick, _context: Context) -> wire.Ack:
        seen.append(tick)
        tick.symbol = "CHANGED"
        return wire.Ack(success=True, message=f"{tick.volume}")

    handler = unary_unary(
        take,
        request_deserializer=wire.Tick.FromString,
        response_serializer=wire.Ack.SerializeToString,
    )
    async with serving(kind, {"Take": handler}) as side:
        take_tick = side.call(
            "unary_unary",
            "Take",
            request_serializer=wire.Tick.SerializeToString,
            response_deserializer=wire.Ack.FromString,
        )
        tick = wire.Tick(symbol="AAPL", volume=7)
        assert await take_tick(tick) == wire.Ack(success=True, message="7")
    assert tick.symbol == "AAPL"
    assert seen[0] is not tick


async def test_an_abort_reaches_the_client_with_its_details_and_metadata(kind: Kind) -> None:
    async def refuse(_request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata((("first", "1"),))
        await context.abort(Code.NOT_FOUND, "no data", (("last", "2"),))

    async with serving(kind, {"Refuse": unary_unary(refuse)}) as side:
        call = side.call("unary_unary", "Refuse")(b"")
        error = await failure_of(call)
        assert (error.code(), error.details()) == (Code.NOT_FOUND, "no data")
        assert [*(error.initial_metadata() or ())] == [("first", "1")]
        assert [*(error.trailing_metadata() or ())] == [("last", "2")]
        assert (await call.code(), await call.details()) == (Code.NOT_FOUND, "no data")
        assert [*await call.initial_metadata()] == [("first", "1")]
        assert [*await call.trailing_metadata()] == [("last", "2")]
        with pytest.raises(grpc.aio.AioRpcError):
            await call.wait_for_connection()


async def test_a_code_that_a_handler_sets_reaches_the_client(kind: Kind) -> None:
    async def decide(_request: bytes, context: Context) -> bytes:
        context.set_code(Code.FAILED_PRECONDITION)
        context.set_details("not yet")
        context.set_trailing_metadata((("why", "early"),))
        return b"ignored"

    async with serving(kind, {"Decide": unary_unary(decide)}) as side:
        error = await failure_of(side.call("unary_unary", "Decide")(b""))
    assert (error.code(), error.details()) == (Code.FAILED_PRECONDITION, "not yet")
    assert [*(error.trailing_metadata() or ())] == [("why", "early")]


@pytest.mark.parametrize("style", ["unary_unary", "stream_stream"])
async def test_a_handler_that_crashes_ends_its_call_with_unknown(
    kind: Kind, style: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(_request: Any, _context: Context) -> bytes:
        raise ZeroDivisionError("by zero")

    handlers: dict[str, Any] = {
        "Crash": {"unary_unary": unary_unary, "stream_stream": stream_stream}[style](crash)
    }
    async with serving(kind, handlers) as side:
        method = side.call(style, "Crash")
        call = method(b"") if style == "unary_unary" else method().read()
        error = await failure_of(call)
    assert error.code() is Code.UNKNOWN
    assert error.details() == "Unexpected <class 'ZeroDivisionError'>: by zero"


@pytest.mark.parametrize("style", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_method_that_is_not_there_is_unimplemented(kind: Kind, style: str) -> None:
    async with serving(kind, {"Echo": unary_unary(echo)}) as side:
        method = side.call(style, "Missing")
        call = method(b"") if style.startswith("unary") else method()
        error = await failure_of(call if style.endswith("unary") else call.read())
        assert (error.code(), error.details()) == (Code.UNIMPLEMENTED, "Method not found!")


async def test_a_handler_sees_its_call(kind: Kind) -> None:
    seen: dict[str, Any] = {}
    done: asyncio.Future[Context] = asyncio.get_running_loop().create_future()

    def note_end(ctx: Context) -> None:
        done.set_result(ctx)

    async def look(_request: bytes, context: Context) -> bytes:
        seen["metadata"] = [(k, v) for k, v in context.invocation_metadata() or () if k == "who"]
        seen["left"] = context.time_remaining()
        seen["peer"] = context.peer()
        if not done.done():
            context.add_done_callback(note_end)  # type: ignore[arg-type]  # a protocol of the stubs
        return b""

    async with serving(kind, {"Look": unary_unary(look)}) as side:
        look_at = side.call("unary_unary", "Look")
        call = look_at(b"", timeout=20, metadata=(("who", "me"),))
        assert 0 < call.time_remaining() < 21
        await call
        await done
        assert seen["metadata"] == [("who", "me")]
        assert 0 < seen["left"] < 21
        assert seen["peer"]
        await look_at(b"")
        assert seen["left"] is None


async def test_interceptors_choose_the_handlers(kind: Kind) -> None:
    class Louder(grpc.aio.ServerInterceptor):
        def __init__(self, mark: bytes) -> None:
            self._mark = mark

        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            handler = await continuation(details)
            if handler is None or not details.method.endswith("/Echo"):
                return handler

            async def louder(request: bytes, context: Context) -> bytes:
                response: bytes = await handler.unary_unary(request, context)
                return response + self._mark

            return handler._replace(unary_unary=louder)

    handlers: dict[str, Any] = {"Echo": unary_unary(echo), "Plain": unary_unary(echo)}
    async with serving(kind, handlers, (Louder(b"1"), Louder(b"2"))) as side:
        assert await side.call("unary_unary", "Echo")(b"a") == b"a21"
        assert await side.call("unary_unary", "Plain")(b"a") == b"a"


async def test_calls_beside_each_other_do_not_wait_for_each_other(kind: Kind) -> None:
    both = asyncio.Barrier(2)

    async def meet(request: bytes, _context: Context) -> bytes:
        await both.wait()
        return request

    async with serving(kind, {"Meet": unary_unary(meet)}) as side:
        method = side.call("unary_unary", "Meet")
        assert [*await asyncio.gather(method(b"a"), method(b"b"))] == [b"a", b"b"]


# Streams.


async def test_responses_come_in_order_and_then_the_end(kind: Kind) -> None:
    async def count(request: bytes, context: Context) -> None:
        for number in range(int(request)):
            await context.write(b"%d" % number)

    async def generate(request: bytes, _context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    expected = [b"%d" % number for number in range(100)]
    handlers: dict[str, Any] = {"Count": unary_stream(count), "Generate": unary_stream(generate)}
    async with serving(kind, handlers) as side:
        for name in handlers:
            call = side.call("unary_stream", name)(b"100")
            assert await read_all(call) == expected
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is Code.OK
            assert [each async for each in side.call("unary_stream", name)(b"100")] == expected


async def test_requests_come_in_order_and_one_response_goes_back(kind: Kind) -> None:
    async def join(requests: AsyncIterator[bytes], _context: Context) -> bytes:
        return b",".join([request async for request in requests])

    async def given() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"%d" % number

    async with serving(kind, {"Join": stream_unary(join)}) as side:
        method = side.call("stream_unary", "Join")
        call = method()
        for number in range(5):
            await call.write(b"%d" % number)
        await call.done_writing()
        assert await call == b"0,1,2,3,4"
        assert await method(given()) == b"0,1,2,3,4"
        assert await method(iter([b"a", b"b"])) == b"a,b"


async def test_both_sides_of_a_stream_send_as_they_like(kind: Kind) -> None:
    async with serving(kind, {"Echo": stream_stream(echo_all)}) as side:
        call = side.call("stream_stream", "Echo")()
        await call.wait_for_connection()
        for number in range(50):
            await call.write(b"%d" % number)
            assert await call.read() == b"%d" % number
        await call.done_writing()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert (await call.code(), await call.details()) == (Code.OK, "")


async def test_an_empty_message_is_a_message(kind: Kind) -> None:
    async with serving(kind, {"Echo": stream_stream(echo_all), "One": unary_unary(echo)}) as side:
        assert await side.call("unary_unary", "One")(b"") == b""
        call = side.call("stream_stream", "Echo")(iter([b"", b"", b"x"]))
        assert [each async for each in call] == [b"", b"", b"x"]


async def test_initial_metadata_come_before_the_first_response(kind: Kind) -> None:
    go_on = asyncio.Event()

    async def serve(_requests: Any, context: Context) -> None:
        await context.send_initial_metadata((("epoch", "7"), ("epoch", "8")))
        await go_on.wait()
        await context.write(b"first")

    async with serving(kind, {"Serve": stream_stream(serve)}) as side:
        call = side.call("stream_stream", "Serve")()
        assert [*await call.initial_metadata()] == [("epoch", "7"), ("epoch", "8")]
        assert not call.done()
        go_on.set()
        assert await call.read() == b"first"


async def test_responses_before_an_abort_arrive(kind: Kind) -> None:
    async def serve(_requests: Any, context: Context) -> None:
        await context.write(b"1")
        await context.write(b"2")
        await context.abort(Code.OUT_OF_RANGE, "gone")

    async with serving(kind, {"Serve": stream_stream(serve)}) as side:
        call = side.call("stream_stream", "Serve")()
        assert await call.read() == b"1"
        assert await call.read() == b"2"
        assert (await failure_of(call.read())).code() is Code.OUT_OF_RANGE
        assert (await failure_of(call.read())).details() == "gone"


async def test_an_abort_before_the_metadata_gives_empty_ones(kind: Kind) -> None:
    async def refuse(_requests: Any, context: Context) -> None:
        await context.abort(Code.UNAVAILABLE, "stopping")

    async with serving(kind, {"Refuse": stream_stream(refuse)}) as side:
        call = side.call("stream_stream", "Refuse")()
        assert [*await call.initial_metadata()] == []
        assert await call.code() is Code.UNAVAILABLE
        with pytest.raises((asyncio.InvalidStateError, grpc.aio.AioRpcError)):
            await call.write(b"")


async def test_a_write_after_the_end_is_refused(kind: Kind) -> None:
    async with serving(kind, {"Echo": stream_stream(echo_all)}) as side:
        call = side.call("stream_stream", "Echo")()
        await call.done_writing()
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"late")
        assert await call.code() is Code.OK
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"later")


async def test_a_server_that_ends_a_stream_early_ends_its_requests(kind: Kind) -> None:
    async def take_two(requests: AsyncIterator[bytes], context: Context) -> None:
        taken = []
        async for request in requests:
            taken.append(request)
            if len(taken) == 2:
                break
        await context.write(b"".join(taken))

    async with serving(kind, {"Take": stream_stream(take_two)}) as side:
        call = side.call("stream_stream", "Take")()
        await call.write(b"a")
        await call.write(b"b")
        assert await call.read() == b"ab"
        assert await call.read() is grpc.aio.EOF
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"c")


# Back-pressure. Upper bounds only, so that a slow machine changes nothing.

LARGE = b"x" * 1_000_000


async def round_trips(side: Side, count: int) -> None:
    ping = side.call("unary_unary", "Ping")
    for _ in range(count):
        assert await ping(b"") == b""


async def test_a_client_that_does_not_read_stops_the_server(kind: Kind) -> None:
    written = 0

    async def flood(_request: bytes, context: Context) -> None:
        nonlocal written
        for _ in range(200):
            await context.write(LARGE)
            written += 1

    handlers: dict[str, Any] = {"Flood": unary_stream(flood), "Ping": unary_unary(echo)}
    async with serving(kind, handlers) as side:
        call = side.call("unary_stream", "Flood")(b"")
        await call.initial_metadata()
        await round_trips(side, 50)
        assert written <= ON_THE_WAY[kind]
        assert len(await read_all(call)) == 200
        assert await call.code() is Code.OK


async def test_a_server_that_does_not_read_stops_the_client(kind: Kind) -> None:
    go_on = asyncio.Event()
    taken = written = 0

    async def take(requests: AsyncIterator[bytes], context: Context) -> None:
        nonlocal taken
        await context.send_initial_metadata(())
        await go_on.wait()
        async for _ in requests:
            taken += 1

    async def write(call: Any) -> None:
        nonlocal written
        for _ in range(200):
            await call.write(LARGE)
            written += 1
        await call.done_writing()

    handlers: dict[str, Any] = {"Take": stream_stream(take), "Ping": unary_unary(echo)}
    async with serving(kind, handlers) as side:
        call = side.call("stream_stream", "Take")()
        await call.initial_metadata()
        writing = asyncio.create_task(write(call))
        await round_trips(side, 50)
        assert written <= ON_THE_WAY[kind]
        go_on.set()
        await writing
        assert await call.read() is grpc.aio.EOF
        assert (taken, written) == (200, 200)


# Cancellation and deadlines.


@pytest.mark.parametrize("style", ["unary_unary", "unary_stream", "stream_stream"])
async def test_a_client_that_cancels_ends_the_handler(kind: Kind, style: str) -> None:
    waiting = Waiting()
    make: Any = {
        "unary_unary": unary_unary,
        "unary_stream": unary_stream,
        "stream_stream": stream_stream,
    }[style]
    async with serving(kind, {"Wait": make(waiting.handler())}) as side:
        method = side.call(style, "Wait")
        call = method() if style.startswith("stream") else method(b"")
        reading = asyncio.ensure_future(call if style == "unary_unary" else call.read())
        await waiting.began.wait()
        assert call.cancel()
        assert not call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert call.cancelled()
        assert call.done()
        assert await call.code() is Code.CANCELLED
        assert await waiting.was_cancelled()


@pytest.mark.parametrize("style", ["unary_unary", "stream_stream"])
async def test_a_cancelled_reader_cancels_its_call(kind: Kind, style: str) -> None:
    waiting = Waiting()
    handler = {"unary_unary": unary_unary, "stream_stream": stream_stream}[style]
    async with serving(kind, {"Wait": handler(waiting.handler())}) as side:
        method = side.call(style, "Wait")
        call = method(b"") if style == "unary_unary" else method()

        async def read() -> None:
            await (call if style == "unary_unary" else call.read())

        reading = asyncio.create_task(read())
        await waiting.began.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await waiting.was_cancelled()
        assert await call.code() is Code.CANCELLED


async def test_a_call_that_nobody_holds_is_cancelled() -> None:
    # gRPC keeps it until its channel is closed.
    waiting = Waiting()
    async with serving("inprocess", {"Wait": stream_stream(waiting.handler())}) as side:
        call = side.call("stream_stream", "Wait")()
        await waiting.began.wait()
        del call
        gc.collect()
        assert await waiting.was_cancelled()


@pytest.mark.parametrize("style", ["unary_unary", "stream_stream"])
async def test_a_deadline_ends_both_sides(kind: Kind, style: str) -> None:
    waiting = Waiting()
    handler = {"unary_unary": unary_unary, "stream_stream": stream_stream}[style]
    async with serving(kind, {"Wait": handler(waiting.handler())}) as side:
        method = side.call(style, "Wait")
        if style == "unary_unary":
            error = await failure_of(method(b"", timeout=0.05))
        else:
            error = await failure_of(method(timeout=0.05).read())
        assert (error.code(), error.details()) == (Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if waiting.began.is_set():
            assert await waiting.was_cancelled()


async def test_a_deadline_that_has_passed_runs_no_handler_to_its_end(kind: Kind) -> None:
    waiting = Waiting()
    async with serving(kind, {"Wait": unary_unary(waiting.handler())}) as side:
        error = await failure_of(side.call("unary_unary", "Wait")(b"", timeout=0))
        assert error.code() is Code.DEADLINE_EXCEEDED


async def test_a_closed_channel_ends_its_calls(kind: Kind) -> None:
    waiting = Waiting()
    async with serving(kind, {"Wait": stream_stream(waiting.handler())}) as side:
        method = side.call("stream_stream", "Wait")
        call = method()
        await waiting.began.wait()
        await side.channel.close()
        assert await waiting.was_cancelled()
        assert await call.code() is Code.CANCELLED
        with pytest.raises(grpc.aio.UsageError):
            method()


async def test_a_handler_may_go_on_for_a_moment_after_a_cancellation(kind: Kind) -> None:
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    began = asyncio.Event()

    async def serve(requests: AsyncIterator[bytes], context: Context) -> None:
        began.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            said.set_result("goodbye")

    async with serving(kind, {"Serve": stream_stream(serve)}) as side:
        call = side.call("stream_stream", "Serve")()
        await began.wait()
        call.cancel()
        assert await said == "goodbye"


# The server stops, and starts.


async def test_a_server_that_stops_waits_for_calls_and_cuts_the_rest(kind: Kind) -> None:
    short, long = Waiting(), Waiting()
    go_on = asyncio.Event()

    async def finish(_request: bytes, _context: Context) -> bytes:
        short.began.set()
        await go_on.wait()
        return b"done"

    handlers: dict[str, Any] = {
        "Finish": unary_unary(finish),
        "Wait": stream_stream(long.handler()),
    }
    async with serving(kind, handlers) as side:
        finishing = asyncio.ensure_future(side.call("unary_unary", "Finish")(b""))
        call = side.call("stream_stream", "Wait")()
        await asyncio.gather(short.began.wait(), long.began.wait())
        stopping = asyncio.create_task(side.server.stop(0.2))
        await asyncio.sleep(0)
        go_on.set()
        assert await finishing == b"done"
        await stopping
        assert await long.was_cancelled()
        assert (await failure_of(call.read())).code() in {Code.UNAVAILABLE, Code.CANCELLED}
        error = await failure_of(side.call("unary_unary", "Finish")(b"", timeout=20))
        assert error.code() is Code.UNAVAILABLE
        late = side.call("stream_stream", "Wait")()
        assert await late.code() is Code.UNAVAILABLE


async def test_a_call_that_may_wait_waits_until_its_deadline(kind: Kind) -> None:
    async with serving(kind, {"Echo": unary_unary(echo), "All": stream_stream(echo_all)}) as side:
        await side.server.stop(None)
        one = side.call("unary_unary", "Echo")(b"", timeout=0.1, wait_for_ready=True)
        assert (await failure_of(one)).code() is Code.DEADLINE_EXCEEDED
        stream = side.call("stream_stream", "All")(timeout=0.1, wait_for_ready=True)
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.wait_for_connection()
        assert await stream.code() is Code.DEADLINE_EXCEEDED


# Limits.


async def test_messages_up_to_the_limit_pass(kind: Kind) -> None:
    largest = bytes(MAX_MESSAGE_BYTES)
    async with serving(kind, {"Echo": unary_unary(echo), "All": stream_stream(echo_all)}) as side:
        assert await side.call("unary_unary", "Echo")(largest) == largest
        call = side.call("stream_stream", "All")()
        await call.write(largest)
        assert await call.read() == largest


async def test_a_larger_message_ends_its_call(kind: Kind) -> None:
    async def enlarge(_request: bytes, _context: Context) -> bytes:
        return bytes(MAX_MESSAGE_BYTES + 1)

    async with serving(kind, {"Echo": unary_unary(echo), "Grow": unary_unary(enlarge)}) as side:
        too_large = bytes(MAX_MESSAGE_BYTES + 1)
        error = await failure_of(side.call("unary_unary", "Echo")(too_large))
        assert error.code() is Code.RESOURCE_EXHAUSTED
        error = await failure_of(side.call("unary_unary", "Grow")(b""))
        assert error.code() is Code.RESOURCE_EXHAUSTED


async def test_a_response_that_does_not_parse_is_none(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with serving(kind, {"Echo": unary_unary(echo)}) as side:
        method = side.call("unary_unary", "Echo", response_deserializer=wire.Tick.FromString)
        assert await method(b"\xff\xff") is None


# Any interleaving.

STEPS = st.lists(st.sampled_from(["write", "read", "turn"]), max_size=40)


async def interleave(kind: Kind, steps: list[str], ahead: int) -> None:
    async def serve(requests: AsyncIterator[bytes], context: Context) -> None:
        for number in range(ahead):
            await context.write(b"own %d" % number)
        async for request in requests:
            await context.write(request)

    async def write(call: Any, number: int, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        await call.write(b"%d" % number)

    async with serving(kind, {"Serve": stream_stream(serve)}) as side:
        call = side.call("stream_stream", "Serve")()
        received: list[bytes] = []
        sent = 0
        writing: asyncio.Task[None] | None = None
        for step in steps:
            if step == "write":
                writing = asyncio.create_task(write(call, sent, writing))
                sent += 1
            elif step == "read" and len(received) < sent + ahead:
                received.append(await call.read())
            else:
                await asyncio.sleep(0)

        async def end() -> None:
            if writing is not None:
                await writing
            await call.done_writing()

        ending = asyncio.create_task(end())
        received += await read_all(call)
        await ending
        assert await call.code() is Code.OK
    own = [b"own %d" % number for number in range(ahead)]
    assert received == own + [b"%d" % number for number in range(sent)]


@pytest.mark.parametrize(("kind", "examples"), [("grpc", 20), ("inprocess", 200)])
def test_any_interleaving_gives_each_message_once_and_in_order(kind: Kind, examples: int) -> None:
    @settings(max_examples=examples)
    @given(steps=STEPS, ahead=st.integers(0, 3))
    def check(steps: list[str], ahead: int) -> None:
        asyncio.run(interleave(kind, steps, ahead))

    check()
