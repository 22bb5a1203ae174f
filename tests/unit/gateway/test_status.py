"""How a gateway is that is several processes."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.status import sum_up

ONE: dict[str, Any] = {
    "uptimeS": 5,
    "feed": "live",
    "breaker": "closed",
    "clients": 1,
    "subscriptions": 2,
    "topics": 3,
    "conflated": "9007199254740993",
}


def test_one_process_is_the_gateway() -> None:
    assert sum_up([ONE]) == ONE


def test_counts_are_summed_and_the_oldest_says_how_long_it_runs() -> None:
    other = ONE | {"uptimeS": 9, "clients": 10, "subscriptions": 20, "topics": 30, "conflated": "1"}
    assert sum_up([ONE, other]) == ONE | {
        "uptimeS": 9,
        "clients": 11,
        "subscriptions": 22,
        "topics": 33,
        "conflated": "9007199254740994",
    }


@pytest.mark.parametrize(
    ("name", "states"), [("feed", ["live", "stale"]), ("breaker", ["closed", "half-open", "open"])]
)
def test_the_worst_state_is_that_of_all(name: str, states: list[str]) -> None:
    processes = [ONE | {name: state} for state in states]
    assert sum_up(processes)[name] == states[-1]
    assert sum_up(processes[::-1])[name] == states[-1]
