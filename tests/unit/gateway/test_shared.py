"""WebSocket frames of what goes to many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from gateway.clients.shared import BINARY_FRAME, SharedMessages, encode_text_frames, frame_head

# Both sides of each length that has another header.
SIZES = st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000])


def parse(data: bytes) -> list[Frame]:
    """Return the frames, as another implementation reads what a server sent."""
    reader, frames = StreamReader(), []
    reader.feed_data(data)
    reader.feed_eof()
    while True:
        parsing = Frame.parse(reader.read_exact, mask=False)
        try:
            next(parsing)
        except StopIteration as stop:
            frames.append(stop.value)
        except EOFError:
            return frames


@given(st.lists(st.one_of(st.text(), SIZES.map(lambda size: "x" * size)), max_size=5))
def test_each_message_is_one_frame(messages: list[str]) -> None:
    encoded = [message.encode() for message in messages]
    assert parse(encode_text_frames(encoded)) == [Frame(Opcode.TEXT, each) for each in encoded]


@given(SIZES)
def test_a_head_tells_how_many_bytes_follow(size: int) -> None:
    data = bytes(size)
    assert parse(frame_head(BINARY_FRAME, size) + data) == [Frame(Opcode.BINARY, data)]


def test_each_form_is_made_once() -> None:
    messages = SharedMessages([b"a", b"b"])
    frames = messages.form(encode_text_frames)
    assert frames == b"\x81\x01a\x81\x01b"
    assert messages.form(encode_text_frames) is frames
    assert messages.form(list) == [b"a", b"b"]
