"""Which signaling messages are relayed, and as what."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stomp.protocol.errors import InvalidSignal
from gateway.stomp.protocol.frames import FrameLimits
from gateway.stomp.protocol.signaling import (
    MAX_CANDIDATE_SIZE,
    MAX_ID_LENGTH,
    MAX_SDP_SIZE,
    MAX_TYPE_LENGTH,
    SignalType,
    parse_signal,
)


def encode(**fields: object) -> bytes:
    return orjson.dumps({"type": "JOIN", "senderId": "a"} | fields)


def test_a_signal_is_relayed_compact_with_all_five_fields() -> None:
    signal = parse_signal(b'{ "senderId": "a", "type": "JOIN" }')
    assert (signal.type, signal.sender_id, signal.target_id) == (SignalType.JOIN, "a", None)
    assert signal.body == (
        b'{"type":"JOIN","senderId":"a","targetId":null,"sdp":null,"candidate":null}'
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "OFFER", "targetId": "b", "sdp": "v=0\r\n"},
        {"type": "ANSWER", "targetId": "b", "sdp": "v=0\r\n", "candidate": None},
        {"type": "ICE", "targetId": "b", "candidate": "candidate:1 1 udp ..."},
        {"type": "ICE", "targetId": "b", "candidate": {"candidate": "", "sdpMLineIndex": 0}},
        {"type": "ICE", "targetId": "b", "candidate": None, "sdp": ""},
        {"type": "JOIN", "room": {"name": "lobby"}},
        # The original relays these; it knows no types.
        {"type": "offer", "targetId": "b", "sdp": {"type": "offer", "sdp": "v=0"}},
        {"type": "candidate", "candidate": ["a", 1]},
        {"type": "mute"},
    ],
)
def test_every_kind_of_signal_passes_with_its_values_unchanged(fields: dict[str, object]) -> None:
    sent = {"senderId": "a"} | fields
    assert orjson.loads(parse_signal(orjson.dumps(sent)).body).items() >= sent.items()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'"JOIN"', "body"),
        (b"\xff", "body"),
        (b'{"type":"JOIN","senderId":"\\ud800"}', "body"),
        (b"[" * 100_000, "body"),
        (b'{"type":"JOIN","senderId":"a","x":' + b"[" * 500 + b"]" * 500 + b"}", "body"),
        (b"{}", "type"),
        (encode(type=""), "type"),
        (encode(type="x" * (MAX_TYPE_LENGTH + 1)), "type"),
        (encode(type="offer", senderId="gateway"), "senderId"),
        (encode(type=None), "type"),
        (encode(type=["JOIN"]), "type"),
        (encode(senderId=None), "senderId"),
        (encode(senderId=""), "senderId"),
        (encode(senderId=5), "senderId"),
        (encode(targetId=""), "targetId"),
        (encode(targetId={}), "targetId"),
        (encode(type="OFFER"), "sdp"),
        (encode(type="ANSWER", sdp=""), "sdp"),
        (encode(type="OFFER", sdp={"type": "offer"}), "sdp"),
        (encode(type="ICE", sdp=5), "sdp"),
        (encode(type="ICE", candidate=5), "candidate"),
        (encode(type="ICE", candidate=["a"]), "candidate"),
    ],
)
def test_anything_else_is_an_error_that_names_the_field(body: bytes, field: str) -> None:
    with pytest.raises(InvalidSignal) as caught:
        parse_signal(body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "fits"),
    [
        ("senderId", "a" * MAX_ID_LENGTH),
        ("targetId", "a" * MAX_ID_LENGTH),
        ("sdp", "é" * (MAX_SDP_SIZE // 2)),
        # The quotes count.
        ("candidate", "a" * (MAX_CANDIDATE_SIZE - 2)),
    ],
)
def test_a_value_of_exactly_its_limit_passes_and_a_longer_one_does_not(
    field: str, fits: str
) -> None:
    parse_signal(encode(**{field: fits}))
    with pytest.raises(InvalidSignal, match=field):
        parse_signal(encode(**{field: fits + "a"}))


def test_a_frame_of_the_default_limit_has_room_for_the_longest_real_sdp() -> None:
    line = "a=candidate:1 1 udp 2113937151 192.0.2.1 54400 typ host\r\n"
    sdp = (line * (MAX_SDP_SIZE // len(line) + 1))[:MAX_SDP_SIZE]
    body = encode(type="OFFER", sdp=sdp, candidate="a" * 4000, targetId="b" * 128)
    parse_signal(body)
    assert len(body) + 1024 < FrameLimits().max_frame_size


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["OFFER", "ANSWER", "ICE", "JOIN", "x"]) | values,
            "senderId": st.text(max_size=5) | values,
            "targetId": st.text(max_size=5) | values,
            "sdp": st.text(max_size=5) | values,
            "candidate": st.text(max_size=5) | values,
            "x": values,
        },
    )
)
def test_any_json_object_is_a_signal_or_a_documented_error(fields: dict[str, object]) -> None:
    # json writes what orjson refuses: huge numbers, NaN.
    body = json.dumps(fields).encode()
    try:
        signal = parse_signal(body)
    except InvalidSignal:
        return
    assert parse_signal(signal.body) == signal
