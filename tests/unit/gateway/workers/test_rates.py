"""The shared leaky bucket lets through what aiolimiter's would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.rates import pour


def passed(rate: float, times: list[float]) -> list[bool]:
    empty_at, seen = 0.0, []
    for now in times:
        after = pour(empty_at, now, rate)
        seen.append(after is not None)
        empty_at = empty_at if after is None else after
    return seen


def test_one_seconds_worth_may_come_at_once() -> None:
    assert passed(10, [1e6] * 12) == [True] * 10 + [False] * 2


def test_then_requests_pass_at_the_rate() -> None:
    assert passed(10, [1e6] * 10 + [1e6 + 0.1, 1e6 + 0.1, 1e6 + 0.2]) == [True] * 11 + [False, True]


def test_below_one_per_second_one_fits() -> None:
    assert passed(0.1, [1e6, 1e6 + 1, 1e6 + 9.9, 1e6 + 10]) == [True, False, False, True]


def test_a_refused_request_costs_nothing() -> None:
    assert passed(1, [5.0, 5.5, 5.9, 6.0]) == [True, False, False, True]


@given(
    st.floats(0.01, 10_000),
    st.lists(st.floats(0, 3), max_size=200).map(sorted),
    st.floats(0, 1e7),
)
def test_never_more_than_the_bucket_and_the_rate(
    rate: float, offsets: list[float], start: float
) -> None:
    times = [start + offset for offset in offsets]
    allowed = [now for now, ok in zip(times, passed(rate, times), strict=True) if ok]
    for first in range(0, len(allowed), 7):
        for last in range(first, len(allowed), 7):
            window = allowed[last] - allowed[first]
            assert last - first + 1 <= max(rate, 1) + window * rate + 1e-2


@given(st.floats(1, 1000), st.integers(1, 50))
def test_who_keeps_to_the_rate_is_never_refused(rate: float, count: int) -> None:
    assert all(passed(rate, [100 + number / rate for number in range(count)]))
