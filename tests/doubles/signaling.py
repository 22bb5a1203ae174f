"""Signaling messages, and who sent what."""

from __future__ import annotations

import orjson

from tests.doubles.stomp import Frame, StompClient

SIGNALING = "/topic/signaling"


def offer(sender: str, number: int, **fields: object) -> str:
    """Return an OFFER that says its number."""
    known = {"type": "OFFER", "senderId": sender, "sdp": f"v=0 {number}"}
    return orjson.dumps(known | fields).decode()


async def send_signal(client: StompClient, body: str, **headers: str) -> None:
    """Send a signaling message."""
    await client.send("SEND", body, destination="/app/signal", **headers)


def senders(frames: list[Frame]) -> dict[str, list[str]]:
    """Return what each sender sent, in the order in which it came."""
    said: dict[str, list[str]] = {}
    for frame in frames:
        said.setdefault(frame.json["senderId"], []).append(frame.json["sdp"])
    return said
