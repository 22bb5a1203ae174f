"""The settings of peers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """The limits of peers."""

    max_peers: int
    max_sdp_bytes: int
    # Of one signaling client, per second.
    offer_rate: float
    # Of all channels together, per second.
    message_rate: float


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """How peers connect, and how long.

    ``hosts`` are the addresses of our candidates; one that is unspecified (0.0.0.0) stands for all
    of this machine.
    """

    hosts: Sequence[str]
    ice_servers: Sequence[str]
    turn_username: str
    turn_password: str
    setup_timeout_s: float
    max_age_s: float
    max_message_bytes: int
