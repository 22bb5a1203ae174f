"""The frames of SockJS: any string survives, and garbage gives only documented errors."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.sockjs.errors import (
    BrokenJsonEncoding,
    CallbackRequired,
    InvalidCallback,
    PayloadError,
    PayloadExpected,
)
from gateway.sockjs.frames import (
    FRAMINGS,
    check_callback,
    decode_messages,
    encode_close,
    encode_message,
    encode_messages,
    is_close,
    replace_surrogates,
)

# With lone surrogates, as JavaScript has them.
any_text = st.text(st.characters())
GARBLED = re.compile("[\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff\ud800-\udfff\0-\x1f]")


@given(st.lists(any_text))
@example(["\ud800", "\udc00\ud800", "\u2028</script>\0"])
def test_any_messages_survive_a_frame(messages: list[str]) -> None:
    frame = encode_messages(map(encode_message, messages))
    assert frame[0] == "a"
    assert decode_messages(frame[1:]) == messages
    # It can be sent as UTF-8, and browsers do not garble it.
    assert decode_messages(frame[1:].encode()) == messages
    assert GARBLED.search(frame) is None


@given(st.integers(min_value=0, max_value=65535), any_text)
def test_any_close_survives_a_frame(code: int, reason: str) -> None:
    frame = encode_close(code, reason)
    assert is_close(frame)
    assert json.loads(frame[1:]) == [code, reason]


def test_the_close_frame_is_the_specifications() -> None:
    assert encode_close(3000, "Go away!") == 'c[3000,"Go away!"]'


@given(st.binary() | any_text)
@example(b"[" * 1_000_000)
@example("[" + "9" * 5000 + "]")
@example("\ufeff[]")
@example(b'["\xed\xa0\x80"]')
def test_garbage_gives_messages_or_a_documented_error(payload: bytes | str) -> None:
    try:
        messages = decode_messages(payload)
    except PayloadError:
        return
    assert all(isinstance(message, str) for message in messages)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("", PayloadExpected),
        (b"", PayloadExpected),
        ("{}", PayloadExpected),
        ("null", PayloadExpected),
        ('"a"', PayloadExpected),
        ('["a", 1]', PayloadExpected),
        ('[["a"]]', PayloadExpected),
        (" ", BrokenJsonEncoding),
        ('["a', BrokenJsonEncoding),
        ("['a']", BrokenJsonEncoding),
        ('["a"] x', BrokenJsonEncoding),
    ],
)
def test_each_bad_payload_has_its_error(payload: bytes | str, error: type[PayloadError]) -> None:
    with pytest.raises(error):
        decode_messages(payload)


def test_one_string_is_a_message_where_that_is_allowed() -> None:
    assert decode_messages('"a"', single_allowed=True) == ["a"]


@given(any_text)
def test_a_replaced_text_can_be_encoded_and_is_otherwise_the_same(text: str) -> None:
    replaced = replace_surrogates(text)
    replaced.encode()
    assert len(replaced) == len(text)
    for before, after in zip(text, replaced, strict=True):
        assert after == ("\ufffd" if "\ud800" <= before <= "\udfff" else before)


@pytest.mark.parametrize("callback", ["a", "_jp.a1-B", "x" * 128])
def test_a_name_is_a_callback(callback: str) -> None:
    assert check_callback(callback) == callback


@given(st.text())
def test_a_callback_is_a_name_or_a_documented_error(callback: str) -> None:
    if re.fullmatch(r"[a-zA-Z0-9\-_.]{1,128}", callback):
        assert check_callback(callback) == callback
    else:
        with pytest.raises(InvalidCallback if callback else CallbackRequired):
            check_callback(callback)


@given(any_text)
@example("</script><!--\u2028")
def test_a_frame_inside_a_script_is_one_string_and_cannot_end_the_script(message: str) -> None:
    frame = encode_messages([encode_message(message)])
    for transport in ("htmlfile", "jsonp"):
        data = FRAMINGS[transport].encode_frame(frame, "p").decode()
        argument = data[data.index("p(") + 2 : data.rindex(");")]
        assert json.loads(argument) == frame
        assert "<" not in argument


@given(any_text)
def test_a_frame_of_an_event_stream_is_one_line(message: str) -> None:
    data = FRAMINGS["eventsource"].encode_frame(encode_messages([encode_message(message)]))
    assert data.startswith(b"data: ")
    assert data.endswith(b"\r\n\r\n")
    assert not {*b"\r\n"} & {*data[6:-4]}


@pytest.mark.parametrize(
    ("transport", "expected"),
    [
        ("xhr", b'a["x"]\n'),
        ("xhr_streaming", b'a["x"]\n'),
        ("eventsource", b'data: a["x"]\r\n\r\n'),
        ("htmlfile", b'<script>\np("a[\\"x\\"]");\n</script>\r\n'),
        ("jsonp", b'callback("a[\\"x\\"]");\r\n'),
    ],
)
def test_each_transport_has_the_specifications_framing(transport: str, expected: bytes) -> None:
    assert FRAMINGS[transport].encode_frame('a["x"]', "callback") == expected


@pytest.mark.parametrize(
    ("transport", "size"),
    [("xhr", 0), ("xhr_streaming", 2049), ("eventsource", 2), ("htmlfile", 1028), ("jsonp", 0)],
)
def test_each_transport_has_its_prelude(transport: str, size: int) -> None:
    assert len(FRAMINGS[transport].encode_prelude("callback")) == size
