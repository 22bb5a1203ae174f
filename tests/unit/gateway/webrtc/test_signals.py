"""What the gateway says on the signaling topic."""

from __future__ import annotations

import orjson

from gateway.webrtc.errors import TooManyPeers
from gateway.webrtc.signals import encode_answer, encode_candidate, encode_refusal

ENVELOPE = {"senderId": "gateway", "targetId": "me", "sdp": None, "candidate": None}


def test_every_message_has_the_five_fields_of_the_relay() -> None:
    assert orjson.loads(encode_answer("me", "v=0")) == ENVELOPE | {"type": "ANSWER", "sdp": "v=0"}
    candidate = {"candidate": "candidate:1 1 udp", "sdpMid": "0", "sdpMLineIndex": 0}
    assert orjson.loads(encode_candidate("me", "1 1 udp", "0")) == ENVELOPE | {
        "type": "ICE",
        "candidate": candidate,
    }
    assert orjson.loads(encode_refusal("me", TooManyPeers())) == ENVELOPE | {
        "type": "ERROR",
        "code": "too_many_peers",
        "message": "there are as many peers as there may be",
    }
