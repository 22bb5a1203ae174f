"""One MESSAGE for many subscribers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stomp.protocol.frames import FrameDecoder
from gateway.stomp.protocol.messages import RESERVED_HEADERS, Message
from gateway.stomp.protocol.versions import Version


def decode_tail(message: Message, version: Version) -> tuple[dict[str, str], bytes]:
    tail = message.tail(version)
    decoder = FrameDecoder()
    decoder.version = version
    decoder.feed(b"MESSAGE\n" + (tail.encode() if isinstance(tail, str) else tail))
    frame = decoder.next_frame()
    assert frame is not None
    assert decoder.next_frame() is None
    return dict(frame.headers), frame.body


def test_the_tail_has_all_that_subscribers_share() -> None:
    message = Message("/topic/market-data/AAPL", b'{"p":1}', sequence=5, epoch=9)
    assert message.tail(Version.V1_2) == (
        "destination:/topic/market-data/AAPL\n"
        "content-type:application/json\n"
        "sequence:5\n"
        "epoch:9\n"
        "content-length:7\n"
        "\n"
        '{"p":1}\0'
    )


def test_the_tail_is_encoded_once_per_version() -> None:
    message = Message("/topic/status", b"{}")
    for version in Version:
        assert message.tail(version) is message.tail(version)


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("application/json", b"{}", str),
        ("text/plain", b"", str),
        ("application/octet-stream", b"{}", bytes),
        ("Application/Octet-Stream ; x=y", b"\xff\0", bytes),
        # A text message that is not UTF-8 would break the WebSocket.
        ("text/plain;charset=latin1", b"\xe9", bytes),
    ],
)
def test_octet_streams_go_out_as_binary_and_everything_else_as_text(
    content_type: str, body: bytes, kind: type
) -> None:
    message = Message("/topic/signaling", body, content_type=content_type)
    assert isinstance(message.tail(Version.V1_2), kind)
    headers, received = decode_tail(message, Version.V1_2)
    assert (headers["content-type"], received) == (content_type, body)


def test_content_length_counts_octets_not_characters() -> None:
    headers, _ = decode_tail(Message("/topic/status", "é€".encode()), Version.V1_2)
    assert headers["content-length"] == "5"


def test_user_headers_pass_through_except_those_that_are_ours() -> None:
    user_headers = dict.fromkeys(RESERVED_HEADERS, "forged") | {"x-room": "a:b\n"}
    message = Message("/topic/signaling", b"{}", user_headers=user_headers)
    assert decode_tail(message, Version.V1_2)[0] == {
        "destination": "/topic/signaling",
        "content-type": "application/json",
        "x-room": "a:b\n",
        "content-length": "2",
    }


def test_a_user_header_that_a_version_cannot_write_is_left_out_for_it() -> None:
    user_headers = {"line": "a\nb", "return": "a\rb", "plain": "x"}
    message = Message("/topic/signaling", b"{}", user_headers=user_headers)
    assert {"line", "return", "plain"} <= decode_tail(message, Version.V1_2)[0].keys()
    assert "return" not in decode_tail(message, Version.V1_1)[0]
    assert decode_tail(message, Version.V1_1)[0]["line"] == "a\nb"
    assert {"line", "return"}.isdisjoint(decode_tail(message, Version.V1_0)[0])
    assert decode_tail(message, Version.V1_0)[0]["plain"] == "x"


def test_a_user_header_that_1_0_would_trim_is_left_out_there() -> None:
    message = Message("/topic/signaling", b"", user_headers={" ": "", " return": "x"})
    assert {"", "return", " return"}.isdisjoint(decode_tail(message, Version.V1_0)[0])
    assert decode_tail(message, Version.V1_2)[0][" return"] == "x"


@given(
    st.sampled_from(Version),
    st.binary(max_size=50),
    st.text(max_size=10),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4),
)
def test_no_body_or_user_header_breaks_the_frame(
    version: Version, body: bytes, content_type: str, user_headers: dict[str, str]
) -> None:
    message = Message(
        "/topic/signaling", body, content_type=content_type, user_headers=user_headers
    )
    headers, received = decode_tail(message, version)
    assert headers["destination"] == "/topic/signaling"
    assert received == body
