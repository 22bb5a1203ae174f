"""Check the signaling messages that browsers exchange through ``/app/signal``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from gateway.stomp.protocol.errors import InvalidSignal

# An SDP with audio, video and many candidates has about 10 KiB.
MAX_SDP_SIZE = 64 * 1024
# A candidate line has about 200 octets, its JSON object some more.
MAX_CANDIDATE_SIZE = 4 * 1024
# A UUID has 36.
MAX_ID_LENGTH = 128
MAX_TYPE_LENGTH = 64
# The target of offers for market-data channels; no client may use it as its own id.
GATEWAY_ID = "gateway"


class SignalType(StrEnum):
    """The types of signaling messages that are checked; others are relayed as they are."""

    OFFER = "OFFER"
    ANSWER = "ANSWER"
    ICE = "ICE"
    JOIN = "JOIN"


@dataclass(frozen=True, slots=True)
class Signal:
    """One signaling message; one of an unknown type has neither ``sdp`` nor ``candidate``.

    ``body`` is relayed: compact JSON with all five fields, null where there is no value
    as the original had it, and then the sender's own further fields as they are.
    """

    type: SignalType | str
    sender_id: str
    target_id: str | None
    sdp: str | None
    candidate: str | dict[str, Any] | None
    body: bytes


def parse_signal(body: bytes) -> Signal:
    """Return the signaling message in the body of a SEND.

    Raises:
        InvalidSignal: it is not one; ``field`` says where.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidSignal("body", f"is not JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise InvalidSignal("body", "is not a JSON object")
    kind = _parse_type(fields.get("type"))
    sender_id = _parse_id("senderId", fields.get("senderId"))
    if sender_id is None:
        raise InvalidSignal("senderId", "is missing")
    if sender_id == GATEWAY_ID:
        raise InvalidSignal("senderId", "is the gateway's own")
    target_id = _parse_id("targetId", fields.get("targetId"))
    sdp = candidate = None
    if isinstance(kind, SignalType):
        sdp = _parse_sdp(kind, fields.get("sdp"))
        candidate = _parse_candidate(fields.get("candidate"))
    known = {
        "type": str(kind),
        "senderId": sender_id,
        "targetId": target_id,
        "sdp": sdp,
        "candidate": candidate,
    }
    return Signal(kind, sender_id, target_id, sdp, candidate, _encode(known | fields))


def _encode(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as exc:
        # orjson reads deeper nesting than it writes.
        raise InvalidSignal("body", f"cannot be relayed: {exc}") from exc


def _parse_type(value: object) -> SignalType | str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TYPE_LENGTH:
        raise InvalidSignal("type", f"is not a string of 1 to {MAX_TYPE_LENGTH} characters")
    return SignalType(value) if value in tuple(SignalType) else value


def _parse_id(field: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH:
        raise InvalidSignal(field, f"is not a string of 1 to {MAX_ID_LENGTH} characters")
    return value


def _parse_sdp(kind: SignalType, value: object) -> str | None:
    if not value and kind in (SignalType.OFFER, SignalType.ANSWER):
        raise InvalidSignal("sdp", f"is missing, {kind} needs one")
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidSignal("sdp", "is not a string")
    if len(value.encode()) > MAX_SDP_SIZE:
        raise InvalidSignal("sdp", f"has more than {MAX_SDP_SIZE} octets")
    return value


def _parse_candidate(value: object) -> str | dict[str, Any] | None:
    # Browsers send the line or the whole RTCIceCandidateInit; null or "" ends the candidates.
    if value is None:
        return None
    if not isinstance(value, str | dict):
        raise InvalidSignal("candidate", "is not a string, an object or null")
    if len(_encode(value)) > MAX_CANDIDATE_SIZE:
        raise InvalidSignal("candidate", f"has more than {MAX_CANDIDATE_SIZE} octets")
    return value
