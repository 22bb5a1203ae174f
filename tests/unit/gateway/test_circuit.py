"""The breaker around awaits."""

from __future__ import annotations

import asyncio

import pytest
from pybreaker import CircuitBreakerError
from structlog.testing import capture_logs

from gateway.backend.breaker import BreakerLimits, BreakerRule
from gateway.backend.circuit import Circuit


class Failure(Exception):
    """The backend failed."""


class Answer(Exception):
    """The backend answered, and the answer is no."""


class Backend:
    """Let each call hang until the test gives its outcome."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[asyncio.Future[str]] = []
        self.circuit = Circuit(
            "backend",
            BreakerRule(BreakerLimits()),
            is_answer=lambda exc: isinstance(exc, Answer),
            clock=lambda: self.now,
        )

    async def answer(self) -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.calls.append(future)
        return await future

    async def begin(self) -> tuple[asyncio.Task[str], asyncio.Future[str]]:
        """Begin a call; return its caller and the handle for its outcome."""
        before = len(self.calls)
        task = asyncio.create_task(self.circuit.call(self.answer))
        await asyncio.sleep(0)
        assert len(self.calls) == before + 1, "the call was refused"
        return task, self.calls[-1]

    async def end(
        self, call: tuple[asyncio.Task[str], asyncio.Future[str]], outcome: str | Exception
    ) -> None:
        task, future = call
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
            with pytest.raises(type(outcome)):
                await task
        else:
            future.set_result(outcome)
            assert await task == outcome

    async def go(self, outcome: str | Exception, times: int = 1) -> None:
        for _ in range(times):
            await self.end(await self.begin(), outcome)


async def test_failures_open_it_and_calls_are_refused_without_being_made() -> None:
    backend = Backend()
    await backend.go(Failure(), times=5)
    with pytest.raises(CircuitBreakerError, match="circuit breaker is open"):
        await backend.circuit.call(backend.answer)
    assert len(backend.calls) == 5
    assert backend.circuit.refuses_for_s() == 5.0


async def test_an_answer_that_is_no_is_a_success() -> None:
    backend = Backend()
    await backend.go(Answer(), times=100)
    await backend.go(Failure(), times=4)
    await backend.go(Answer())
    assert backend.circuit.refuses_for_s() == 0


async def test_a_cancelled_call_is_no_outcome() -> None:
    backend = Backend()
    await backend.go(Failure(), times=4)
    for _ in range(10):
        task, _ = await backend.begin()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert backend.circuit.refuses_for_s() == 0
    await backend.go(Failure())
    assert backend.circuit.refuses_for_s() == 5.0


async def test_half_open_three_probes_run_at_once_and_a_cancelled_one_gives_its_place_back() -> (
    None
):
    backend = Backend()
    await backend.go(Failure(), times=5)
    backend.now = 5.0
    probes = [await backend.begin() for _ in range(3)]
    with pytest.raises(CircuitBreakerError, match="circuit breaker is half-open"):
        await backend.circuit.call(backend.answer)
    probes[0][0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await probes[0][0]
    probes[0] = await backend.begin()
    with pytest.raises(CircuitBreakerError):
        await backend.circuit.call(backend.answer)
    for probe in probes:
        await backend.end(probe, "ok")
    await backend.go("ok", times=10)


async def test_calls_that_fail_after_it_opened_do_not_prolong_the_open_time() -> None:
    backend = Backend()
    late = [await backend.begin() for _ in range(3)]
    await backend.go(Failure(), times=5)
    backend.now = 4.0
    for call in late:
        await backend.end(call, Failure())
    assert backend.circuit.refuses_for_s() == 1.0


async def test_a_call_of_before_that_succeeds_late_does_not_close_it() -> None:
    backend = Backend()
    late = await backend.begin()
    await backend.go(Failure(), times=5)
    await backend.end(late, "ok")
    with pytest.raises(CircuitBreakerError):
        await backend.circuit.call(backend.answer)


async def test_each_change_of_state_is_one_line_in_the_log() -> None:
    backend = Backend()
    with capture_logs() as lines:
        await backend.go("ok")
        await backend.go(Failure(), times=4)
        backend.now = 5.0
        await backend.go(Failure(), times=3)
        backend.now = 10.0
        await backend.go("ok", times=3)
    assert [(line["event"], line["breaker"], line["was"], line["state"]) for line in lines] == [
        ("circuit_breaker_changed", "backend", "closed", "open"),
        ("circuit_breaker_changed", "backend", "open", "half-open"),
        ("circuit_breaker_changed", "backend", "half-open", "open"),
        ("circuit_breaker_changed", "backend", "open", "half-open"),
        ("circuit_breaker_changed", "backend", "half-open", "closed"),
    ]
