"""Encode the gateway's own signaling messages."""

from __future__ import annotations

import orjson

from gateway.stomp.protocol.signaling import GATEWAY_ID
from gateway.webrtc.errors import OfferRefused


def encode_answer(target_id: str, sdp: str) -> bytes:
    """Return the ANSWER to an offer of ``target_id``."""
    return _encode("ANSWER", target_id, sdp=sdp)


def encode_candidate(target_id: str, line: str, mid: str) -> bytes:
    """Return one ICE candidate of ours, as a browser's addIceCandidate takes it."""
    candidate = {"candidate": f"candidate:{line}", "sdpMid": mid, "sdpMLineIndex": 0}
    return _encode("ICE", target_id, candidate=candidate)


def encode_refusal(target_id: str, refusal: OfferRefused) -> bytes:
    """Return why an offer of ``target_id`` is not answered."""
    return _encode("ERROR", target_id, code=refusal.code, message=str(refusal))


def _encode(kind: str, target_id: str, **fields: object) -> bytes:
    # The same five fields as in every relayed message.
    message = {"type": kind, "senderId": GATEWAY_ID, "targetId": target_id}
    return orjson.dumps(message | {"sdp": None, "candidate": None} | fields)
