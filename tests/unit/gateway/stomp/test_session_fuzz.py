"""A session under any frames, any bytes and any times: documented errors only, bounds kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.stomp.protocol.errors import CloseCode, StompError
from gateway.stomp.protocol.events import Event, SignalSent, Subscribed, Subscription, Unsubscribed
from gateway.stomp.protocol.frames import FrameLimits
from gateway.stomp.protocol.session import Phase, SessionLimits
from tests.unit.gateway.stomp.harness import Client, frame

COMMANDS = [
    *["CONNECT", "STOMP", "SEND", "SUBSCRIBE", "UNSUBSCRIBE", "BEGIN", "COMMIT", "ABORT"],
    *["ACK", "NACK", "DISCONNECT", "MESSAGE", "RECEIPT", "ERROR", "CONNECTED", "connect"],
]
VALUES = {
    "accept-version": ["1.0", "1.1", "1.2", "1.0,1.1,1.2", "3.0", ""],
    "heart-beat": ["0,0", "1000,1000", "1000,0", "0,1000", "x"],
    "destination": [
        "/app/signal",
        "/topic/signaling",
        "/topic/status",
        "/topic/market-data/AAPL",
        "/topic/market-data/*",
        "/topic/market-data/A,B,C",
        "/topic/market-data/",
        "/queue/x",
    ],
    "id": ["0", "1", "2", "s1-1", "s1-2", "x" * 300, "\\c", "\\t"],
    "ack": ["auto", "client", "client-individual", "x"],
    "receipt": ["1", "a\\cb", "a\\nb", ""],
    "transaction": ["t", "u", "v", "w"],
    "message-id": ["s1-1", "s1-9"],
    "subscription": ["0", "1"],
    "policy": ["conflate", "buffer", "x"],
    "last-sequence": ["5", "AAPL\\c5", "x"],
    "epoch": ["1", "x"],
    "content-type": ["application/json", "application/octet-stream", "a\\nb"],
    "content-length": ["0", "30", "-1", "99999"],
    "x-user": ["a\\nb\\c", "\\r"],
}
BODIES = ["", '{"type":"JOIN","senderId":"a"}', '{"type":"OFFER"}', "x", "\0"]
LIMITS = SessionLimits(
    max_subscriptions=3, max_symbols=5, max_transactions=2, max_transaction_bytes=5000
)
FRAME_LIMITS = FrameLimits(max_frame_size=1000, max_headers=12, max_header_line=400)

header = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.sampled_from(VALUES[name]).map(lambda value: f"{name}:{value}")
)
any_frame = st.builds(
    lambda command, headers, body: frame(command, *headers, body=body),
    st.sampled_from(COMMANDS),
    st.lists(header, max_size=6, unique=True),
    st.sampled_from(BODIES),
)
# Frames that are right, so that a run gets far.
good_frame = st.one_of(
    st.builds(
        lambda number, topic: frame("SUBSCRIBE", f"id:{number}", f"destination:{topic}"),
        st.integers(0, 4),
        st.sampled_from(VALUES["destination"][1:6]),
    ),
    st.sampled_from("012").map(lambda number: frame("UNSUBSCRIBE", f"id:{number}", "receipt:1")),
    st.builds(
        lambda command, name: frame(command, f"transaction:{name}"),
        st.sampled_from(["BEGIN", "COMMIT", "ABORT"]),
        st.sampled_from("tuv"),
    ),
    st.sampled_from(["", "transaction:t"]).map(
        lambda extra: frame(
            "SEND", "destination:/app/signal", *filter(None, [extra]), body=BODIES[1]
        )
    ),
    st.just("\n"),
)
connect = st.sampled_from(["1.0", "1.1", "1.2"]).flatmap(
    lambda version: st.sampled_from(VALUES["heart-beat"][:4]).map(
        lambda beat: frame("CONNECT", f"accept-version:{version}", f"heart-beat:{beat}")
    )
)
# Data to send, or seconds to wait.
steps = st.lists(
    st.one_of(
        good_frame,
        good_frame,
        any_frame,
        any_frame.map(lambda data: data[: len(data) // 2]),
        st.binary(max_size=30),
        st.sampled_from([0.0, 0.5, 1.0, 5.0]),
    ),
    max_size=25,
)


class Checker:
    """Drive a session as an edge does, and check what must always hold."""

    def __init__(self) -> None:
        self.client = Client(LIMITS, FRAME_LIMITS)
        self.subscriptions: list[Subscription] = []

    def step(self, step: str | bytes | float) -> None:
        client = self.client
        was_closed = client.session.close is not None
        if isinstance(step, float):
            client.wait(step)
        else:
            self.handle(client.send_raw(step))
        for subscription in self.subscriptions:
            client.publish(subscription)
        frames = client.receive()
        if was_closed:
            assert frames == []
        self.check_close([answer.command for answer in frames])
        self.check_bounds()

    def handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Subscribed):
                self.subscriptions.append(event.subscription)
            elif isinstance(event, Unsubscribed):
                assert event.subscription in self.subscriptions
            elif isinstance(event, SignalSent):
                for subscription in self.subscriptions:
                    self.client.session.send_message(subscription, event.message, self.client.now)

    def check_close(self, commands: list[str]) -> None:
        session = self.client.session
        close = session.close
        assert (close is not None) is (session.phase is Phase.CLOSED)
        assert "ERROR" not in commands[:-1]
        if close is None:
            assert "ERROR" not in commands
            return
        assert close.code in CloseCode
        assert close.code is not CloseCode.INTERNAL_ERROR
        assert len(close.reason.encode()) <= 123
        assert isinstance(close.error, StompError | None)
        assert session.next_timer() is None

    def check_bounds(self) -> None:
        session = self.client.session
        assert session._decoder.buffered <= FRAME_LIMITS.max_frame_size
        assert session._transactions.held_bytes <= LIMITS.max_transaction_bytes
        assert len(session.subscriptions) <= LIMITS.max_subscriptions
        assert set(session.subscriptions.values()) == {
            subscription for subscription in self.subscriptions if subscription.active
        }
        timer = session.next_timer()
        assert timer is None or timer > self.client.now


@given(st.none() | connect, steps)
def test_any_frames_bytes_and_times_give_documented_errors_only(
    first: str | None, rest: list[str | bytes | float]
) -> None:
    checker = Checker()
    if first is not None:
        checker.step(first)
    for step in rest:
        checker.step(step)


@given(connect, st.lists(good_frame | any_frame, max_size=10), st.integers(1, 50))
def test_any_chunking_gives_the_same_events_answers_and_close(
    first: str, rest: list[str], size: int
) -> None:
    data = "".join([first, *rest]).encode()
    whole, cut = Client(LIMITS, FRAME_LIMITS), Client(LIMITS, FRAME_LIMITS)
    events = whole.send_raw(data)
    cut_events: list[Event] = []
    for start in range(0, len(data), size):
        cut_events += cut.send_raw(data[start : start + size])
    assert list(map(type, cut_events)) == list(map(type, events))
    assert cut.receive_raw() == whole.receive_raw()
    assert repr(cut.session.close) == repr(whole.session.close)
