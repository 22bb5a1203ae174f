"""Read the STUN and TURN servers of the settings."""

from __future__ import annotations

import re

# RFC 7064 and RFC 7065.
_SERVER = re.compile(
    r"(?:stuns?:[^\s,:?@]+(?::[0-9]{1,5})?|"
    r"turns?:[^\s,:?@]+(?::[0-9]{1,5})?(?:\?transport=(?:udp|tcp))?)"
)


def parse_ice_servers(text: str) -> tuple[str, ...]:
    """Return the addresses in a list with commas.

    Raises:
        ValueError: one is not of the form ``stun:host:port`` or ``turn:host:port?transport=udp``.
    """
    servers = tuple(part for each in text.split(",") if (part := each.strip()))
    for server in servers:
        if not _SERVER.fullmatch(server):
            raise ValueError(
                f"{server!r} is not of the form stun:host:port or turn:host:port?transport=udp"
            )
    return servers
