"""The rule of the circuit breaker, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backend.breaker import BreakerLimits, BreakerRule, BreakerState, Permit

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def permit_at(rule: BreakerRule, now: float = 0.0) -> Permit:
    permit = rule.next_permit(now)
    assert permit is not None
    return permit


def play(rule: BreakerRule, outcomes: str, now: float = 0.0) -> None:
    """Make one call after the other: ``+`` succeeds, ``-`` fails, ``c`` is cancelled."""
    for outcome in outcomes:
        permit = permit_at(rule, now)
        if outcome == "c":
            rule.give_back(permit)
        else:
            rule.record(permit, failed=outcome == "-", now=now)


def opened(at: float = 0.0, limits: BreakerLimits | None = None) -> BreakerRule:
    rule = BreakerRule(limits or BreakerLimits())
    play(rule, "-----", at)
    assert rule.state is OPEN
    return rule


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("", CLOSED),
        ("----", CLOSED),  # four calls are too few to judge
        ("-----", OPEN),
        ("++---", OPEN),  # 3 of 5
        ("+++--", CLOSED),  # 2 of 5
        ("++++++++++-----", OPEN),  # exactly 5 of the last 10
        ("++++++++++----", CLOSED),  # 4 of the last 10
        ("--++++++++++-+-+-+--", OPEN),  # 5 of the last 10, 7 of 20
        ("--+++++++++----", CLOSED),  # 4 of the last 10, 6 of all
        ("----cccccc", CLOSED),  # a cancelled call is no outcome
        ("----cccccc-", OPEN),
        ("+-+-+-", OPEN),  # half of six; 2 of 5 before
    ],
)
def test_closed_judges_the_last_ten_calls_from_five_on(outcomes: str, state: BreakerState) -> None:
    rule = BreakerRule(BreakerLimits())
    play(rule, outcomes)
    assert rule.state is state


@pytest.mark.parametrize(
    ("now", "state", "refuses_for_s"),
    [(100.0, OPEN, 5.0), (104.0, OPEN, 1.0), (104.999, OPEN, 0.001), (105.0, HALF_OPEN, 0.0)],
)
def test_open_refuses_every_call_until_its_time_has_passed(
    now: float, state: BreakerState, refuses_for_s: float
) -> None:
    rule = opened(at=100.0)
    assert rule.refuses_for_s(now) == pytest.approx(refuses_for_s)
    assert (rule.next_permit(now) is None) == (state is OPEN)
    assert rule.state is state


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("", HALF_OPEN),
        ("+", HALF_OPEN),
        ("++", HALF_OPEN),
        ("+++", CLOSED),
        ("-", HALF_OPEN),
        ("--", HALF_OPEN),  # all probes are waited for, as resilience4j does
        ("++-", CLOSED),  # 1 of 3 is below 50 %
        ("-++", CLOSED),
        ("--+", OPEN),
        ("---", OPEN),
        ("cccccc++", HALF_OPEN),  # a cancelled probe gives its place back
        ("cc+c+c+", CLOSED),
    ],
)
def test_half_open_judges_three_probes_by_the_same_rate(outcomes: str, state: BreakerState) -> None:
    rule = opened(at=0.0)
    rule.give_back(permit_at(rule, 5.0))
    play(rule, outcomes, now=5.0)
    assert rule.state is state


def test_half_open_lets_three_calls_through_at_once_and_no_more() -> None:
    rule = opened(at=0.0)
    probes = [permit_at(rule, 5.0) for _ in range(3)]
    assert rule.next_permit(5.0) is None
    assert rule.next_permit(500.0) is None
    rule.give_back(probes[0])
    assert rule.next_permit(5.0) is not None
    assert rule.next_permit(5.0) is None


def test_a_failed_half_open_opens_for_the_whole_time_again() -> None:
    rule = opened(at=0.0)
    play(rule, "---", now=7.0)
    assert rule.refuses_for_s(7.0) == 5.0
    assert rule.next_permit(11.9) is None
    assert rule.next_permit(12.0) is not None


def test_closing_forgets_the_failures_of_before() -> None:
    rule = opened(at=0.0)
    play(rule, "++-", now=5.0)
    play(rule, "----", now=5.0)
    assert rule.state is CLOSED
    play(rule, "-", now=5.0)
    assert rule.state is OPEN


def test_a_call_that_began_while_closed_changes_nothing_once_open() -> None:
    rule = BreakerRule(BreakerLimits())
    late = permit_at(rule)
    play(rule, "-----", now=0.0)
    rule.record(late, failed=True, now=4.0)
    assert rule.refuses_for_s(4.0) == 1.0


def test_a_call_that_began_while_closed_is_no_probe() -> None:
    rule = BreakerRule(BreakerLimits())
    late = [permit_at(rule) for _ in range(4)]
    play(rule, "-----", now=0.0)
    permit_at(rule, 5.0)
    for permit in late[:3]:
        rule.record(permit, failed=False, now=5.0)
    rule.give_back(late[3])
    assert rule.state is HALF_OPEN
    assert rule.next_permit(5.0) is not None
    assert rule.next_permit(5.0) is not None
    assert rule.next_permit(5.0) is None


def test_a_probe_of_an_earlier_half_open_does_not_count_in_the_next() -> None:
    limits = BreakerLimits(probes=2)
    rule = opened(at=0.0, limits=limits)
    first, cancelled = permit_at(rule, 5.0), permit_at(rule, 5.0)
    rule.give_back(cancelled)
    rule.record(permit_at(rule, 5.0), failed=True, now=5.0)
    rule.record(first, failed=True, now=5.0)
    assert rule.state is OPEN
    permit_at(rule, 10.0)
    rule.record(first, failed=False, now=10.0)
    rule.give_back(cancelled)
    assert rule.next_permit(10.0) is not None
    assert rule.next_permit(10.0) is None


def test_a_minimum_above_the_window_is_the_window() -> None:
    rule = BreakerRule(BreakerLimits(window=3, min_calls=5))
    play(rule, "---")
    assert rule.state is OPEN


@given(st.text("+-c", max_size=60), st.floats(min_value=0, max_value=20))
def test_whatever_happened_it_probes_in_time_and_three_successes_close_it(
    outcomes: str, step: float
) -> None:
    rule, now = BreakerRule(BreakerLimits()), 0.0
    for outcome in outcomes:
        now += step
        if rule.refuses_for_s(now) == 0:
            play(rule, outcome, now)
        else:
            assert rule.next_permit(now) is None
    now += 5.0
    # In half-open two probes may have failed already; then it opens once more, and not twice.
    for _ in range(2):
        while rule.state is not CLOSED and rule.refuses_for_s(now) == 0:
            play(rule, "+", now)
        now += 5.0
    assert rule.state is CLOSED
