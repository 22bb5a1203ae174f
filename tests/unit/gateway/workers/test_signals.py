"""Signaling messages between workers arrive as they were, and what is left out is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.stomp.destinations import SIGNALING
from gateway.stomp.messages import Message
from gateway.stomp.versions import Version
from gateway.workers.signals import (
    FAREWELL,
    Farewell,
    Missed,
    SignalDecoder,
    encode_frame,
    encode_signal,
)


def signal(body: str = "{}", **headers: str) -> Message:
    return Message(SIGNALING, body.encode(), user_headers=headers)


def seen(event: Message | Missed | Farewell) -> object:
    return event.tail(Version.V1_2) if isinstance(event, Message) else event


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), max_size=50),
            st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(max_size=5)),
        ),
        max_size=5,
    ),
    st.lists(st.integers(1, 40)),
)
def test_any_messages_in_any_pieces(
    given_signals: list[tuple[str, dict[str, str]]], cuts: list[int]
) -> None:
    messages = [signal(body, **headers) for body, headers in given_signals]
    data = b"".join(encode_frame(n, encode_signal(each)) for n, each in enumerate(messages, 1))
    decoder, events = SignalDecoder(), []
    for cut in cuts:
        events += decoder.feed(data[:cut])
        data = data[cut:]
    events += decoder.feed(data)
    assert [seen(each) for each in events] == [seen(each) for each in messages]


def test_the_type_of_the_body_arrives() -> None:
    message = Message(SIGNALING, b"{}", content_type="text/plain")
    (event,) = SignalDecoder().feed(encode_frame(1, encode_signal(message)))
    assert isinstance(event, Message)
    assert event.headers == message.headers


def test_what_was_left_out_is_told_with_the_next_message() -> None:
    decoder = SignalDecoder()
    decoder.feed(encode_frame(1, encode_signal(signal())))
    missed, message = decoder.feed(encode_frame(4, encode_signal(signal())))
    assert missed == Missed(2)
    assert isinstance(message, Message)


def test_what_was_left_out_is_told_without_a_next_message() -> None:
    decoder = SignalDecoder()
    assert decoder.feed(encode_frame(3)) == [Missed(3)]
    (message,) = decoder.feed(encode_frame(4, encode_signal(signal())))
    assert isinstance(message, Message)


def test_a_farewell_is_no_message() -> None:
    decoder = SignalDecoder()
    events = decoder.feed(FAREWELL + encode_frame(1, encode_signal(signal())))
    assert [type(each) for each in events] == [Farewell, Message]
