"""The STUN and TURN servers of the settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.settings import GatewaySettings
from gateway.webrtc.servers import parse_ice_servers


def test_servers_are_a_list_with_commas() -> None:
    assert parse_ice_servers("") == ()
    text = " stun:a.example:3478, turn:b.example?transport=udp,turns:c:443?transport=tcp ,"
    assert parse_ice_servers(text) == (
        "stun:a.example:3478",
        "turn:b.example?transport=udp",
        "turns:c:443?transport=tcp",
    )


@pytest.mark.parametrize(
    "text", ["a.example", "stun:", "http://a", "turn:u:p@a", "turn:a?transport=x", "stun:a?b=c"]
)
def test_another_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        parse_ice_servers(text)
    with pytest.raises(ValidationError, match="is not of the form"):
        GatewaySettings(webrtc_ice_servers=text)
