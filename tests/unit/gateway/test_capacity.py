"""Which live clients are admitted."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.capacity import Capacity, Refusal
from gateway.clients.farewell import Returns


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_clients_are_admitted_per_second() -> None:
    clock = Clock()
    capacity = Capacity(10_000, rate=10, burst=3, clock=clock)
    assert [capacity.try_enter() for _ in range(5)] == [True, True, True, False, False]
    clock.now = 0.1
    assert [capacity.try_enter() for _ in range(2)] == [True, False]
    assert capacity.count == 4
    assert capacity.refused == {Refusal.RATE: 3}


def test_without_a_rate_all_are_admitted_that_fit() -> None:
    capacity = Capacity(1000)
    assert all(capacity.try_enter() for _ in range(1000))
    assert not capacity.try_enter()
    assert capacity.refused == {Refusal.FULL: 1}


def test_a_client_that_does_not_fit_costs_no_admission() -> None:
    capacity = Capacity(1, rate=10, burst=2, clock=Clock())
    assert capacity.try_enter()
    assert not capacity.try_enter()
    capacity.leave()
    assert capacity.try_enter()


def test_a_server_that_stops_admits_nobody() -> None:
    capacity = Capacity(10)
    capacity.close()
    assert not capacity.try_enter()
    assert capacity.refused == {Refusal.STOPPING: 1}
    assert capacity.explain_refusal() == "the gateway stops"


@given(st.floats(0, 600), st.integers())
def test_clients_come_back_within_the_spread(spread_s: float, seed: int) -> None:
    returns = Returns(spread_s, Random(seed).uniform)
    assert 1000 <= returns.farewell().reconnect_after_ms <= 1000 * (1 + spread_s) + 1
    assert 1 <= returns.retry_after_s() <= 1 + spread_s
