"""The addresses that peers are offered."""

from __future__ import annotations

from gateway.webrtc.peer import candidate_hosts

MACHINE = ["192.0.2.7", "2001:db8::7"]


async def test_where_the_gateway_listens_is_offered_loopback_too() -> None:
    assert await candidate_hosts(["127.0.0.1"], MACHINE) == ["127.0.0.1"]
    assert await candidate_hosts(["192.0.2.9", "::1"], MACHINE) == ["192.0.2.9", "::1"]


async def test_an_unspecified_address_is_all_of_the_machine() -> None:
    assert await candidate_hosts(["0.0.0.0"], MACHINE) == ["192.0.2.7"]
    assert await candidate_hosts(["::"], MACHINE) == MACHINE


async def test_a_machine_without_a_network_still_has_loopback() -> None:
    assert await candidate_hosts(["0.0.0.0"], []) == ["127.0.0.1"]


async def test_a_name_is_looked_up() -> None:
    assert "127.0.0.1" in await candidate_hosts(["localhost"], MACHINE)
