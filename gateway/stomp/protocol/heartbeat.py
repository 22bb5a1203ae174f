"""Agree on heart-beats, and know when the next one is due."""

from __future__ import annotations

import re
from math import inf

from gateway.stomp.protocol.errors import InvalidHeader

# Our EOL goes out after this part of the interval, so that it arrives in time over a slow network.
SEND_EARLY = 0.75
# STOMP 1.2, Heart-beating: "the receiver SHOULD take into account an error margin". Spring's.
RECEIVE_MARGIN = 3

_HEART_BEAT = re.compile(r"([0-9]{1,9}),([0-9]{1,9})")


def parse_heart_beat(value: str) -> tuple[int, int]:
    """Return the two numbers of a ``heart-beat`` header, in milliseconds.

    Raises:
        InvalidHeader: it is not two numbers with a comma between them.
    """
    match = _HEART_BEAT.fullmatch(value)
    if match is None:
        raise InvalidHeader("heart-beat", value, "two numbers of milliseconds, such as 10000,10000")
    return int(match[1]), int(match[2])


class HeartBeats:
    """When to write an EOL, and when a silent peer is lost; :data:`math.inf` is never.

    Args:
        server_ms: ``sx,sy`` of our CONNECTED: what we can send, and what we want to receive.
        client_ms: ``cx,cy`` of its CONNECT.
        now: the time at which they are agreed.
    """

    def __init__(self, server_ms: tuple[int, int], client_ms: tuple[int, int], now: float) -> None:
        (sx, sy), (cx, cy) = server_ms, client_ms
        self.send_after_s = _interval_s(sx, cy) * SEND_EARLY
        self.receive_within_s = _interval_s(cx, sy) * RECEIVE_MARGIN
        self.last_sent = now
        self.last_received = now

    @property
    def send_deadline(self) -> float:
        """When an EOL must go out, if nothing else does before."""
        return self.last_sent + self.send_after_s

    @property
    def receive_deadline(self) -> float:
        """When the peer is lost, if nothing comes before."""
        return self.last_received + self.receive_within_s


def _interval_s(can_send_ms: int, wants_ms: int) -> float:
    # STOMP 1.2, Heart-beating: if either is 0 there are no heart-beats in that direction,
    # otherwise one every MAX of the two.
    return max(can_send_ms, wants_ms) / 1000 if can_send_ms and wants_ms else inf
