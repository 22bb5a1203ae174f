"""The rules of a session, sentence by sentence; numbers are those of the list of wire behaviour."""

from __future__ import annotations

import itertools

import pytest

from gateway.stomp.protocol.destinations import MarketDataTopic, Policy, Resume, SignalingTopic
from gateway.stomp.protocol.errors import (
    CloseCode,
    InvalidDestination,
    InvalidHeader,
    InvalidOption,
    InvalidSignal,
    MissingHeader,
    SendForbidden,
    ServerShutdown,
    SessionLimitExceeded,
    SlowConsumer,
    StompError,
    SubscriptionInUse,
    UnexpectedFrame,
    UnknownCommand,
    UnknownDestination,
    UnknownMessage,
    UnknownSubscription,
    UnsupportedVersion,
)
from gateway.stomp.protocol.events import AckMode, Connected, SignalSent, Subscribed, Unsubscribed
from gateway.stomp.protocol.frames import CLIENT_COMMANDS, COMMANDS, SERVER_COMMANDS, FrameLimits
from gateway.stomp.protocol.messages import Message
from gateway.stomp.protocol.session import TRANSITIONS, Phase, SessionLimits
from gateway.stomp.protocol.versions import Version
from tests.unit.gateway.stomp.harness import AAPL, MSFT, Client, frame

JOIN = '{"type":"JOIN","senderId":"a"}'


def ended_by(client: Client) -> type[StompError] | None:
    close = client.session.close
    return None if close is None or close.error is None else type(close.error)


# The table, row by row.

# A frame of each command that is right in a CONNECTED session with subscription 0, transaction t
# and message s1-1.
RIGHT_FRAMES = {
    "CONNECT": frame("CONNECT", "accept-version:1.2", "host:x"),
    "STOMP": frame("STOMP", "accept-version:1.2", "host:x"),
    "SEND": frame("SEND", "destination:/app/signal", body=JOIN),
    "SUBSCRIBE": frame("SUBSCRIBE", "id:1", f"destination:{AAPL}"),
    "UNSUBSCRIBE": frame("UNSUBSCRIBE", "id:0"),
    "BEGIN": frame("BEGIN", "transaction:u"),
    "COMMIT": frame("COMMIT", "transaction:t"),
    "ABORT": frame("ABORT", "transaction:t"),
    "ACK": frame("ACK", "id:s1-1"),
    "NACK": frame("NACK", "id:s1-1"),
    "DISCONNECT": frame("DISCONNECT"),
}


def client_in(phase: Phase) -> Client:
    if phase is Phase.CONNECTING:
        return Client()
    client = Client.connected()
    client.publish(client.subscribe(AAPL, "id:0", "ack:client"))
    client.send("BEGIN", "transaction:t")
    client.receive()
    if phase is Phase.CLOSED:
        client.send("DISCONNECT")
    return client


@pytest.mark.parametrize(("row", "target"), TRANSITIONS.items(), ids=str)
def test_each_row_of_the_table_leads_where_it_says(row: tuple[Phase, str], target: Phase) -> None:
    phase, command = row
    client = client_in(phase)
    client.send_raw(RIGHT_FRAMES[command])
    assert client.session.phase is target
    assert ended_by(client) is None


@pytest.mark.parametrize("phase", [Phase.CONNECTING, Phase.CONNECTED])
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_frame_without_a_row_is_an_error(phase: Phase, command: str) -> None:
    if (phase, command) in TRANSITIONS:
        return
    client = client_in(phase)
    client.send_raw(RIGHT_FRAMES.get(command) or frame(command))
    assert ended_by(client) is UnexpectedFrame
    assert client.session.phase is Phase.CLOSED
    client.receive_error()


def test_every_client_command_has_a_row_and_no_server_command_has() -> None:
    commands = {command for _, command in TRANSITIONS}
    assert commands == CLIENT_COMMANDS
    assert commands.isdisjoint(SERVER_COMMANDS)


@pytest.mark.parametrize("command", sorted(CLIENT_COMMANDS))
def test_a_closed_session_ignores_everything(command: str) -> None:
    client = client_in(Phase.CLOSED)
    assert client.send_raw(RIGHT_FRAMES[command] + "garbage\r\r") == []
    assert client.receive_raw() == []


# Connecting.


def test_a_connect_is_answered_with_the_highest_common_version() -> None:
    client = Client()
    (event,) = client.send("CONNECT", "accept-version:1.0,1.1,1.2", "host:x", "login:me")
    assert event == Connected(
        Version.V1_2, {"accept-version": "1.0,1.1,1.2", "host": "x", "login": "me"}
    )
    assert client.receive_raw() == [
        "CONNECTED\nversion:1.2\nsession:s1\nserver:market-data-server\nheart-beat:10000,10000\n\n\0"
    ]


def test_a_connect_without_accept_version_is_1_0() -> None:
    client = Client()
    client.send("CONNECT")
    assert client.session.version == "1.0"
    assert client.receive_raw() == [
        "CONNECTED\nversion:1.0\nsession:s1\nserver:market-data-server\n\n\0"
    ]


def test_no_common_version_is_an_error_that_lists_ours_then_close() -> None:
    client = Client()
    assert client.send("CONNECT", "accept-version:2.0,3.0") == []
    assert client.receive_error().headers["version"] == "1.0,1.1,1.2"
    assert ended_by(client) is UnsupportedVersion


def test_stomp_is_handled_like_connect() -> None:
    client = Client()
    client.send("STOMP", "accept-version:1.2", "host:x")
    assert [answer.command for answer in client.receive()] == ["CONNECTED"]


@pytest.mark.parametrize("command", sorted(CLIENT_COMMANDS - {"CONNECT", "STOMP"}))
def test_any_frame_before_connect_gets_error_then_close(command: str) -> None:
    client = Client()
    assert client.send_raw(RIGHT_FRAMES[command]) == []
    client.receive_error()
    assert client.session.close is not None
    assert client.session.close.code == 1002


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_a_second_connect_gets_error_then_close(command: str) -> None:
    client = Client.connected()
    client.send(command, "accept-version:1.2")
    client.receive_error()
    assert ended_by(client) is UnexpectedFrame


def test_an_error_that_answers_connect_is_not_escaped_as_connect_was_not() -> None:
    client = Client()
    client.send("CONNECT", "accept-version:9", "receipt:a:b\\c")
    (error,) = client.receive_raw()
    assert isinstance(error, str)
    assert "\nreceipt-id:a:b\\c\n" in error


# 10, 11
def test_frames_are_processed_in_order_however_they_are_cut() -> None:
    data = "".join(
        [
            frame("CONNECT", "accept-version:1.1"),
            frame("BEGIN", "transaction:t", "receipt:1"),
            frame("SEND", "destination:/app/signal", "x:a\\cb", "receipt:2", body=JOIN),
            frame("ABORT", "transaction:t", "receipt:3"),
        ]
    )
    whole, cut = Client(), Client()
    events = whole.send_raw(data)
    assert [type(event) for event in events] == [Connected, SignalSent]
    cut_events = [event for octet in data for event in cut.send_raw(octet)]
    assert [type(event) for event in cut_events] == [Connected, SignalSent]
    assert whole.receive_raw() == cut.receive_raw()


def test_text_and_binary_messages_are_both_accepted() -> None:
    client = Client()
    client.send_raw(frame("CONNECT", "accept-version:1.2").encode())
    client.send_raw(frame("BEGIN", "transaction:t", "receipt:é"))
    assert client.receive()[1].headers["receipt-id"] == "é"


def test_half_of_a_surrogate_pair_is_an_error() -> None:
    client = Client.connected()
    client.send("BEGIN", "transaction:\ud800")
    client.receive_error()


# 17, 21, 23
@pytest.mark.parametrize(
    "data",
    [
        "BEGIN\ntransaction:\\t\n\n\0",
        "Begin\ntransaction:t\n\n\0",
        "HELLO\n\n\0",
        "BEGIN\nno colon\n\n\0",
        "BEGIN\ntransaction:t\n\nbody\0",
        "SEND\ncontent-length:-1\n\n\0",
        "SEND\ncontent-length:2\n\nabc\0",
        "SEND\ncontent-length:999999\n\n",
        "SEND\n" + "a:b\n" * 1000,
        "SEND\na:" + "b" * 100_000,
    ],
)
def test_a_malformed_frame_gets_error_with_message_then_close(data: str) -> None:
    client = Client.connected()
    assert client.send_raw(data + frame("BEGIN", "transaction:t", "receipt:1")) == []
    client.receive_error()
    assert client.session.close is not None
    assert client.session.close.code in (CloseCode.PROTOCOL_ERROR, CloseCode.TOO_LARGE)


def test_what_came_before_a_malformed_frame_is_kept() -> None:
    client = Client.connected()
    events = client.send_raw(frame("SEND", "destination:/app/signal", body=JOIN) + "BOGUS\n\n\0")
    assert [type(event) for event in events] == [SignalSent]
    assert ended_by(client) is UnknownCommand


def test_error_has_a_message_and_is_the_last_frame_before_the_close() -> None:
    client = Client.connected()
    subscription = client.subscribe(AAPL, "id:0")
    client.send("UNSUBSCRIBE", "id:9")
    client.publish(subscription)
    client.send("BEGIN", "transaction:t", "receipt:1")
    client.session.fail(SlowConsumer("late"), client.now)
    client.wait(100)
    error = client.receive_error()
    assert error.headers["message"] == "there is no subscription '9'"
    close = client.session.close
    assert close is not None
    assert (close.code, close.reason) == (1002, "there is no subscription '9'")


@pytest.mark.parametrize("receipt", ["77", "a:b\\\n\r", ""])
def test_error_caused_by_a_frame_with_receipt_carries_receipt_id(receipt: str) -> None:
    escaped = (
        receipt.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace(":", "\\c")
    )
    client = Client.connected()
    client.send("COMMIT", "transaction:none", f"receipt:{escaped}")
    assert client.receive_error().headers["receipt-id"] == receipt
    client = Client.connected()
    client.send_raw(f"BEGIN\nreceipt:{escaped}\nno colon\n\n\0")
    assert client.receive_error().headers["receipt-id"] == receipt


def test_error_without_a_receipt_asked_for_carries_none() -> None:
    client = Client.connected()
    client.send("BEGIN", "transaction:t", "receipt:1")
    client.send("BEGIN", "transaction:t")
    assert [answer.headers.get("receipt-id") for answer in client.receive()] == ["1", None]


def test_a_close_reason_fits_into_a_close_frame() -> None:
    client = Client.connected()
    client.session.fail(SlowConsumer("é" * 200), client.now)
    assert client.session.close is not None
    assert 120 <= len(client.session.close.reason.encode()) <= 123


@pytest.mark.parametrize(
    ("error", "code"), [(SlowConsumer("5 MB wait"), 4490), (ServerShutdown(1500), 1012)]
)
def test_an_edge_can_end_a_session_with_a_documented_code(error: StompError, code: int) -> None:
    client = Client.connected()
    subscription = client.subscribe(AAPL, "id:0")
    client.session.fail(error, client.now)
    assert client.receive_error().headers["message"] == str(error)
    assert client.session.close is not None
    assert client.session.close.code == code
    assert not subscription.active


def test_a_client_of_a_server_that_stops_is_told_when_to_come_back() -> None:
    client = Client.connected()
    client.session.fail(ServerShutdown(1500), client.now)
    assert client.receive_error().headers["reconnect-after-ms"] == "1500"


# Publish and subscribe.


def test_message_carries_destination_a_unique_id_and_the_subscription() -> None:
    client = Client.connected()
    subscription = client.subscribe(AAPL, "id:a:b")
    message = Message(AAPL, b'{"p":1}', sequence=5, epoch=9)
    client.session.send_message(subscription, message, client.now)
    client.session.send_message(subscription, message, client.now, recovered=True)
    client.session.send_message(subscription, message, client.now, recovered=False, conflated=True)
    shared = (
        "destination:/topic/market-data/AAPL\ncontent-type:application/json\nsequence:5\nepoch:9\n"
        'content-length:7\n\n{"p":1}\0'
    )
    assert client.receive_raw() == [
        f"MESSAGE\nsubscription:a\\cb\nmessage-id:s1-1\n{shared}",
        f"MESSAGE\nsubscription:a\\cb\nmessage-id:s1-2\nrecovered:true\n{shared}",
        f"MESSAGE\nsubscription:a\\cb\nmessage-id:s1-3\nrecovered:false\nconflated:true\n{shared}",
    ]


def test_user_headers_and_content_type_of_a_send_pass_through_to_its_message() -> None:
    client = Client.connected()
    (event,) = client.send(
        "SEND",
        "destination:/app/signal",
        "content-type:application/vnd.signal+json",
        "x-room:a\\nb",
        "subscription:forged",
        "receipt:1",
        body=JOIN,
    )
    assert isinstance(event, SignalSent)
    subscription = client.subscribe("/topic/signaling", "id:0")
    client.receive()
    client.session.send_message(subscription, event.message, client.now)
    (message,) = client.receive()
    assert message.headers == {
        "subscription": "0",
        "message-id": "s1-1",
        "destination": "/topic/signaling",
        "content-type": "application/vnd.signal+json",
        "x-room": "a\nb",
        "content-length": str(len(message.body)),
    }
    assert message.body == event.signal.body


def test_an_octet_stream_is_written_as_bytes() -> None:
    client = Client.connected()
    subscription = client.subscribe("/topic/signaling", "id:0")
    message = Message("/topic/signaling", b"\0\xff", content_type="application/octet-stream")
    client.session.send_message(subscription, message, client.now)
    (data,) = client.receive_raw()
    assert isinstance(data, bytes)
    assert data.endswith(b"content-length:2\n\n\0\xff\0")


def test_messages_to_one_destination_leave_in_order() -> None:
    client = Client.connected()
    subscription = client.subscribe(AAPL, "id:0")
    for number in range(100):
        client.publish(subscription, str(number).encode())
    assert [int(message.body) for message in client.receive()] == list(range(100))


def test_two_ids_on_one_destination_get_one_message_each_and_end_alone() -> None:
    client = Client.connected()
    first, second = client.subscribe(AAPL, "id:1"), client.subscribe(AAPL, "id:2")
    for subscription in (first, second):
        client.publish(subscription)
    messages = client.receive()
    assert [message.headers["subscription"] for message in messages] == ["1", "2"]
    assert len({message.headers["message-id"] for message in messages}) == 2
    assert client.send("UNSUBSCRIBE", "id:1") == [Unsubscribed(first)]
    for subscription in (first, second):
        client.publish(subscription)
    assert [message.headers["subscription"] for message in client.receive()] == ["2"]


def test_reusing_an_active_subscription_id_is_an_error() -> None:
    client = Client.connected()
    client.subscribe(AAPL, "id:0")
    client.send("SUBSCRIBE", "id:0", f"destination:{MSFT}")
    assert ended_by(client) is SubscriptionInUse


def test_an_id_may_be_used_again_after_unsubscribe() -> None:
    client = Client.connected()
    client.subscribe(AAPL, "id:0")
    client.send("UNSUBSCRIBE", "id:0")
    assert client.subscribe(MSFT, "id:0").active


def test_an_unsubscribe_without_a_subscription_is_an_error() -> None:
    client = Client.connected()
    client.send("UNSUBSCRIBE", "id:0")
    assert ended_by(client) is UnknownSubscription


@pytest.mark.parametrize("version", ["1.1", "1.2"])
@pytest.mark.parametrize(
    ("command", "headers", "missing"),
    [
        ("SEND", (), "destination"),
        ("SUBSCRIBE", ("id:0",), "destination"),
        ("SUBSCRIBE", (f"destination:{AAPL}",), "id"),
        ("UNSUBSCRIBE", (), "id"),
        ("UNSUBSCRIBE", (f"destination:{AAPL}",), "id"),
        ("BEGIN", (), "transaction"),
        ("COMMIT", (), "transaction"),
        ("ABORT", (), "transaction"),
    ],
)
def test_a_frame_without_a_header_it_needs_gets_error_then_close(
    version: str, command: str, headers: tuple[str, ...], missing: str
) -> None:
    client = Client.connected(version=version)
    client.send(command, *headers)
    assert missing in client.receive_error().headers["message"]
    assert ended_by(client) is MissingHeader


def test_in_1_0_the_destination_identifies_a_subscription_without_id() -> None:
    client = Client.connected(version="1.0")
    plain, named = client.subscribe(AAPL), client.subscribe(AAPL, "id:0")
    for subscription in (plain, named):
        client.publish(subscription)
    first, second = client.receive()
    assert "subscription" not in first.headers
    assert second.headers["subscription"] == "0"
    assert client.send("UNSUBSCRIBE", f"destination:{AAPL}") == [Unsubscribed(plain)]
    assert client.send("UNSUBSCRIBE", "id:0") == [Unsubscribed(named)]
    client.send("UNSUBSCRIBE")
    assert ended_by(client) is MissingHeader


def test_in_1_0_a_second_subscription_without_id_to_a_destination_is_an_error() -> None:
    client = Client.connected(version="1.0")
    client.subscribe(AAPL)
    client.send("SUBSCRIBE", f"destination:{AAPL}")
    assert ended_by(client) is SubscriptionInUse


def test_a_subscribe_says_its_topic_and_options() -> None:
    client = Client.connected()
    (event,) = client.send(
        "SUBSCRIBE",
        "id:0",
        "destination:/topic/market-data/AAPL,EUR/USD",
        "policy:buffer",
        "last-sequence:AAPL\\c41",
        "epoch:9",
    )
    assert isinstance(event, Subscribed)
    assert event.subscription.topic == MarketDataTopic(("AAPL", "EUR/USD"))
    assert event.options.policy is Policy.BUFFER
    assert event.options.resume == Resume(9, {"AAPL": 41})


def test_selector_is_ignored() -> None:
    client = Client.connected()
    assert client.subscribe(AAPL, "id:0", "selector:price > 5").active


def test_a_disconnected_session_receives_nothing_more() -> None:
    client = Client.connected()
    subscription = client.subscribe(AAPL, "id:0")
    client.send("DISCONNECT")
    client.publish(subscription)
    assert client.receive_raw() == []
    assert client.session.next_timer() is None


def test_every_frame_that_asks_gets_a_receipt_in_order() -> None:
    client = Client.connected()
    client.publish(client.subscribe(AAPL, "id:0", "ack:client"))
    client.receive()
    numbers = itertools.count()
    frames = [
        ("BEGIN", "transaction:t", ""),
        ("SEND", "destination:/app/signal", JOIN),
        ("SEND", "destination:/app/signal\ntransaction:t", JOIN),
        ("COMMIT", "transaction:t", ""),
        ("BEGIN", "transaction:t", ""),
        ("ABORT", "transaction:t", ""),
        ("SUBSCRIBE", f"id:1\ndestination:{MSFT}", ""),
        ("ACK", "id:s1-1", ""),
        ("NACK", "id:s1-1", ""),
        ("UNSUBSCRIBE", "id:1", ""),
        ("DISCONNECT", "x:y", ""),
    ]
    data = "".join(
        frame(command, headers, f"receipt:r\\c{next(numbers)}", body=body)
        + frame("BEGIN", f"transaction:no receipt {number}")
        + frame("COMMIT", f"transaction:no receipt {number}")
        for number, (command, headers, body) in enumerate(frames)
    )
    client.send_raw(data)
    answers = client.receive()
    assert [answer.command for answer in answers] == ["RECEIPT"] * len(frames)
    assert [answer.headers["receipt-id"] for answer in answers] == [
        f"r:{number}" for number in range(len(frames))
    ]


def test_the_receipt_of_a_subscribe_waits_until_the_edge_has_handled_the_event() -> None:
    client = Client.connected()
    # The event comes out of receive_data(), the receipt only out of a later data_to_send(): what
    # the edge publishes while it handles the event is sent too.
    subscription = client.subscribe(AAPL, "id:0", "receipt:1")
    client.publish(subscription)
    assert [answer.command for answer in client.receive()] == ["RECEIPT", "MESSAGE"]


def test_disconnect_with_receipt_is_receipt_then_close() -> None:
    client = Client.connected()
    client.send("DISCONNECT", "receipt:77")
    assert client.receive_raw() == ["RECEIPT\nreceipt-id:77\n\n\0"]
    assert client.session.close is not None
    assert (client.session.close.code, client.session.close.error) == (1000, None)


def test_disconnect_without_receipt_is_close() -> None:
    client = Client.connected()
    client.send("DISCONNECT")
    assert client.receive_raw() == []
    assert client.session.close is not None
    assert client.session.close.code == CloseCode.NORMAL


@pytest.mark.parametrize("mode", AckMode)
@pytest.mark.parametrize("version", Version)
def test_a_1_2_message_has_an_ack_header_where_acks_are_wanted(mode: AckMode, version: str) -> None:
    client = Client.connected(version=version)
    client.publish(client.subscribe(AAPL, "id:0", f"ack:{mode}"))
    (message,) = client.receive()
    assert ("ack" in message.headers) is (version == "1.2" and mode is not AckMode.AUTO)


@pytest.mark.parametrize(
    ("version", "command", "headers"),
    [
        ("1.2", "ACK", ("id:s1-1",)),
        ("1.2", "NACK", ("id:s1-2", "transaction:t")),
        ("1.1", "ACK", ("message-id:s1-1", "subscription:0")),
        ("1.1", "NACK", ("message-id:s1-2", "subscription:0", "transaction:t")),
        ("1.0", "ACK", ("message-id:s1-1",)),
    ],
)
def test_an_ack_that_names_a_message_is_accepted_and_has_no_effect(
    version: str, command: str, headers: tuple[str, ...]
) -> None:
    client = Client.connected(version=version)
    subscription = client.subscribe(AAPL, "id:0", "ack:client")
    client.send("BEGIN", "transaction:t")
    client.publish(subscription)
    client.publish(subscription)
    client.receive()
    for _ in range(2):
        assert client.send(command, *headers) == []
    assert client.receive_raw() == []
    assert client.session.close is None


@pytest.mark.parametrize(
    ("version", "command", "headers", "error"),
    [
        ("1.2", "ACK", (), MissingHeader),
        ("1.2", "ACK", ("message-id:s1-1", "subscription:0"), MissingHeader),
        ("1.1", "ACK", ("message-id:s1-1",), MissingHeader),
        ("1.1", "NACK", ("subscription:0",), MissingHeader),
        ("1.0", "ACK", (), MissingHeader),
        ("1.0", "NACK", ("message-id:s1-1",), UnexpectedFrame),
        ("1.2", "ACK", ("id:s1-2",), UnknownMessage),
        ("1.2", "ACK", ("id:s1-0",), UnknownMessage),
        ("1.2", "ACK", ("id:s2-1",), UnknownMessage),
        ("1.2", "ACK", ("id:1",), UnknownMessage),
        ("1.2", "ACK", ("id:s1-" + "1" * 5000,), UnknownMessage),
    ],
)
def test_an_ack_without_its_headers_or_for_no_message_is_an_error(
    version: str, command: str, headers: tuple[str, ...], error: type[StompError]
) -> None:
    client = Client.connected(version=version)
    client.publish(client.subscribe(AAPL, "id:0", "ack:client"))
    client.receive()
    client.send(command, *headers)
    assert ended_by(client) is error
    client.receive_error()


def test_an_unknown_ack_mode_is_an_error() -> None:
    client = Client.connected()
    client.send("SUBSCRIBE", "id:0", f"destination:{AAPL}", "ack:never")
    assert ended_by(client) is InvalidHeader


def test_a_signal_comes_out_once_ready_for_every_subscriber_the_sender_included() -> None:
    sender, other = Client.connected(), Client.connected(version="1.0")
    subscriptions = [
        (client, client.subscribe("/topic/signaling", "id:0")) for client in (sender, other)
    ]
    assert all(subscription.topic == SignalingTopic() for _, subscription in subscriptions)
    (event,) = sender.send("SEND", "destination:/app/signal", body=JOIN)
    assert isinstance(event, SignalSent)
    for client, subscription in subscriptions:
        client.session.send_message(subscription, event.message, client.now)
        (message,) = client.receive()
        assert message.headers["destination"] == "/topic/signaling"
        assert message.body == event.signal.body


# Policy and limits.


@pytest.mark.parametrize(
    ("command", "headers", "error", "code"),
    [
        ("SEND", (f"destination:{AAPL}",), SendForbidden, 4403),
        ("SEND", ("destination:/topic/signaling",), SendForbidden, 4403),
        ("SEND", ("destination:/app/other",), UnknownDestination, 4404),
        ("SEND", ("destination:/app/signal",), InvalidSignal, 4400),
        ("SUBSCRIBE", ("id:0", "destination:/queue/a"), UnknownDestination, 4404),
        ("SUBSCRIBE", ("id:0", "destination:/topic/market-data/A*"), InvalidDestination, 4400),
        ("SUBSCRIBE", ("id:0", f"destination:{AAPL}", "policy:drop"), InvalidOption, 4400),
        ("SUBSCRIBE", ("id:0", f"destination:{AAPL}", "last-sequence:1"), InvalidOption, 4400),
    ],
)
def test_what_this_server_does_not_do_gets_error_and_a_documented_code(
    command: str, headers: tuple[str, ...], error: type[StompError], code: int
) -> None:
    client = Client.connected()
    assert client.send(command, *headers, "receipt:5") == []
    assert client.receive_error().headers["receipt-id"] == "5"
    assert ended_by(client) is error
    assert client.session.close is not None
    assert client.session.close.code == code


def test_as_many_subscriptions_as_the_limit_and_one_more_is_an_error() -> None:
    client = Client.connected(limits=SessionLimits(max_subscriptions=2))
    for number in "01":
        client.subscribe("/topic/market-data/*", f"id:{number}")
    client.send("UNSUBSCRIBE", "id:0")
    client.subscribe("/topic/market-data/*", "id:2")
    client.send("SUBSCRIBE", "id:3", f"destination:{AAPL}")
    assert ended_by(client) is SessionLimitExceeded


def test_as_many_symbols_as_the_limit_over_all_subscriptions_and_one_more_is_an_error() -> None:
    client = Client.connected(limits=SessionLimits(max_symbols=3))
    client.subscribe("/topic/market-data/A,B", "id:0")
    client.subscribe("/topic/market-data/A", "id:1")
    client.subscribe("/topic/market-data/*", "id:2")
    client.send("UNSUBSCRIBE", "id:0")
    client.subscribe("/topic/market-data/C,D,C", "id:0")
    client.send("SUBSCRIBE", "id:3", f"destination:{AAPL}")
    assert ended_by(client) is SessionLimitExceeded


@pytest.mark.parametrize(
    ("command", "headers"), [("SUBSCRIBE", f"destination:{AAPL}\nid:"), ("BEGIN", "transaction:")]
)
def test_an_id_of_exactly_the_limit_passes_and_a_longer_one_does_not(
    command: str, headers: str
) -> None:
    client = Client.connected(limits=SessionLimits(max_id_length=5))
    client.send(command, headers + "12345")
    assert client.session.close is None
    client.send(command, headers + "123456")
    assert ended_by(client) is InvalidHeader


def test_a_session_has_the_frame_limits_it_was_given() -> None:
    client = Client(frame_limits=FrameLimits(max_frame_size=100))
    client.send("CONNECT", "login:" + "x" * 100)
    assert client.session.close is not None
    assert client.session.close.code == CloseCode.TOO_LARGE


def test_the_passcode_of_a_client_stays_out_of_what_is_logged() -> None:
    (event,) = Client().send("CONNECT", "passcode:secret")
    assert "secret" not in repr(event)
