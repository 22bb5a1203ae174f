"""The rate limit, on a clock of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pytest

from gateway.backend.limits import RateLimits, network_of
from gateway.errors import RateLimited


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limits(
    rate: float,
    scope: Literal["global", "client"] = "global",
    max_clients: int = 100,
    clock: Clock | None = None,
) -> RateLimits:
    return RateLimits(rate, scope=scope, max_clients=max_clients, clock=clock or Clock())


def passed(limits: RateLimits, callers: Iterable[str]) -> int:
    count = 0
    for caller in callers:
        try:
            limits.take(caller)
            count += 1
        except RateLimited:
            pass
    return count


def test_ten_requests_pass_at_once_and_then_ten_per_second() -> None:
    clock = Clock()
    ours = limits(10, clock=clock)
    assert passed(ours, ["a"] * 15) == 10
    clock.now += 0.1
    assert passed(ours, ["a"] * 5) == 1
    clock.now += 1.0
    assert passed(ours, ["a"] * 15) == 10


def test_a_refused_request_says_when_to_come_back() -> None:
    ours = limits(10)
    passed(ours, ["a"] * 10)
    with pytest.raises(RateLimited, match="more than 10 requests per second") as caught:
        ours.take("a")
    assert caught.value.retry_after_s == pytest.approx(0.1)


def test_a_rate_below_one_is_held_too() -> None:
    clock = Clock()
    ours = limits(0.1, clock=clock)
    assert passed(ours, ["a"] * 3) == 1
    clock.now += 9.9
    assert passed(ours, ["a"]) == 0
    clock.now += 0.1
    assert passed(ours, ["a"]) == 1


def test_zero_is_no_limit() -> None:
    assert passed(limits(0), ["a"] * 1000) == 1000


def test_globally_all_callers_share_the_rate() -> None:
    assert passed(limits(10), "abcdefghijklmno") == 10


def test_by_client_each_has_its_own_rate() -> None:
    ours = limits(10, "client")
    assert passed(ours, "a" * 15) == 10
    assert passed(ours, "b" * 15) == 10


def test_at_the_bound_the_client_silent_longest_is_forgotten() -> None:
    ours = limits(1, "client", max_clients=2)
    assert passed(ours, "ab") == 2
    # a speaks again, and is refused; so c takes the place of b.
    assert passed(ours, "ac") == 1
    assert passed(ours, "a") == 0
    assert passed(ours, "b") == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a name", "a name"),
    ],
)
def test_an_ipv6_client_is_limited_with_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
