"""How often something may happen."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limiter import RateLimiter


def test_a_burst_passes_at_once_and_the_next_waits_for_the_rate() -> None:
    bucket = RateLimiter(rate=10, burst=3, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.09)
    assert bucket.take(0.1)
    assert not bucket.take(0.1)


def test_a_long_silence_saves_no_more_than_a_burst() -> None:
    bucket = RateLimiter(rate=10, burst=3, now=0.0)
    assert bucket.take(1000.0, 3)
    assert not bucket.take(1000.0)


def test_what_is_over_the_limit_costs_nothing() -> None:
    bucket = RateLimiter(rate=1, burst=2, now=0.0)
    assert not bucket.take(0.0, 3)
    assert bucket.take(0.0, 2)


@settings(deadline=None)
@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=50),
)
def test_no_order_of_events_passes_the_rate(
    rate: int, burst: int, events: list[tuple[float, int]]
) -> None:
    bucket = RateLimiter(rate, burst, now=0.0)
    now, passed = 0.0, 0
    for pause, count in events:
        now += pause
        if bucket.take(now, count):
            passed += count
    assert passed <= burst + rate * now + 1e-6
