"""The rules of a session, row by row and by the clock."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.clients.outbox import BufferFull
from gateway.sockjs.errors import BrokenJsonEncoding
from gateway.sockjs.session import (
    ANOTHER_CONNECTION,
    TRANSITIONS,
    Event,
    SessionLimits,
    SockJsSession,
    State,
)

NOW = 1000.0
DELAY, HEARTBEAT = 5.0, 25.0
INTERRUPTED = 'c[1002,"Connection interrupted"]'


def attached(now: float = NOW) -> SockJsSession:
    session = SockJsSession(now)
    assert session.attach(now) is None
    return session


def opened() -> SockJsSession:
    session = attached()
    assert session.next_frame(NOW) == "o"
    return session


def frames(session: SockJsSession, now: float = NOW) -> list[str]:
    taken: list[str] = []
    while (frame := session.next_frame(now)) is not None:
        taken.append(frame)
        if frame[0] == "c":
            break
    return taken


def brought_to(state: State) -> SockJsSession:
    session = attached()
    if state is not State.CONNECTING:
        session.next_frame(NOW)
    if state is State.CLOSING:
        session.close(NOW, 3000, "Go away!")
    if state is State.CLOSED:
        session.end(1006, "")
    assert session.state is state
    return session


@pytest.mark.parametrize(("row", "after"), TRANSITIONS.items())
def test_each_row_of_the_table_happens(row: tuple[State, Event], after: State) -> None:
    before, event = row
    if (before, event) == (State.CLOSING, Event.OPEN_FRAME_TAKEN):
        # The application closed before the client came.
        session = brought_to(State.CONNECTING)
        session.close(NOW, 3000, "Go away!")
    else:
        session = brought_to(before)
    if event is Event.OPEN_FRAME_TAKEN:
        assert session.next_frame(NOW) == "o"
    elif event is Event.CLOSE:
        session.close(NOW, 3000, "Go away!")
    else:
        session.end(1006, "")
    assert session.state is after


def test_the_open_frame_comes_first_and_once() -> None:
    session = attached()
    session.send("early")
    assert frames(session) == ["o", 'a["early"]']


def test_messages_that_wait_go_in_one_frame() -> None:
    session = opened()
    session.send("a")
    session.send("b")
    assert frames(session) == ['a["a","b"]']


def test_a_frame_is_bounded_so_that_the_rest_can_be_counted() -> None:
    session = opened()
    for _ in range(10):
        session.send("x" * 20_000)
    assert [len(json.loads(frame[1:])) for frame in frames(session)] == [3, 3, 3, 1]


def test_a_full_buffer_refuses_and_loses_nothing() -> None:
    session = SockJsSession(NOW, SessionLimits(max_buffered_bytes=10))
    session.attach(NOW)
    session.send("x" * 8)
    with pytest.raises(BufferFull):
        session.send("y")
    assert frames(session) == ["o", f'a["{"x" * 8}"]']


def test_a_second_receiver_is_turned_away_and_the_first_goes_on() -> None:
    session = opened()
    assert session.attach(NOW) == ANOTHER_CONNECTION == 'c[2010,"Another connection still open"]'
    session.send("a")
    assert frames(session) == ['a["a"]']


def test_messages_wait_for_the_next_receiver() -> None:
    session = opened()
    session.detach(NOW)
    session.send("a")
    assert session.attach(NOW + 1) is None
    assert frames(session, NOW + 1) == ['a["a"]']


def test_a_close_comes_after_what_was_sent_and_discards_what_comes_later() -> None:
    session = opened()
    session.send("last")
    session.close(NOW, 3000, "Go away!")
    session.close(NOW, 4000, "Too late")
    session.send("lost")
    assert session.receive('["lost"]') == []
    assert frames(session) == ['a["last"]', 'c[3000,"Go away!"]']


def test_a_closing_session_tells_everybody_why() -> None:
    session = opened()
    session.close(NOW, 3000, "Go away!")
    assert session.attach(NOW) == 'c[3000,"Go away!"]'
    assert frames(session) == ['c[3000,"Go away!"]']
    session.detach(NOW)
    assert session.attach(NOW) is None
    assert frames(session) == ['c[3000,"Go away!"]']


def test_an_interrupted_receiver_closes_the_session() -> None:
    session = opened()
    session.send("perhaps lost")
    session.interrupt(NOW)
    assert session.close_reason == (1002, "Connection interrupted")
    assert session.buffered_bytes == 0
    assert session.attach(NOW) is None
    assert frames(session) == [INTERRUPTED]


def test_a_session_is_given_up_after_the_delay_without_a_receiver() -> None:
    session = opened()
    session.detach(NOW + 100)
    assert session.next_timer() == NOW + 100 + DELAY
    states: list[State] = []
    for after_s in (DELAY - 0.001, DELAY):
        session.check_timers(NOW + 100 + after_s)
        states.append(session.state)
    assert states == [State.OPEN, State.CLOSED]
    assert session.close_reason == (1002, "Connection interrupted")
    assert session.next_timer() is None
    assert session.next_frame(NOW + 200) is None


def test_a_receiver_in_time_keeps_the_session() -> None:
    session = opened()
    session.detach(NOW)
    session.attach(NOW + DELAY - 1)
    session.check_timers(NOW + DELAY + 1)
    assert session.state is State.OPEN


def test_a_closing_session_is_given_up_even_with_a_receiver() -> None:
    session = opened()
    session.send("never read")
    session.close(NOW, 4000, "slow")
    assert session.next_timer() == NOW + DELAY
    session.check_timers(NOW + DELAY)
    assert session.state is State.CLOSED
    assert session.close_reason == (4000, "slow")


def test_an_idle_receiver_gets_a_heartbeat_after_the_delay() -> None:
    session = opened()
    assert session.next_timer() == NOW + HEARTBEAT
    session.check_timers(NOW + HEARTBEAT - 0.001)
    assert session.next_frame(NOW + HEARTBEAT - 0.001) is None
    session.check_timers(NOW + HEARTBEAT)
    # Nothing to wait for before it is taken.
    assert session.next_timer() is None
    assert session.next_frame(NOW + HEARTBEAT) == "h"
    assert session.next_frame(NOW + HEARTBEAT) is None
    assert session.next_timer() == NOW + 2 * HEARTBEAT


def test_a_busy_receiver_gets_no_heartbeat() -> None:
    session = opened()
    session.send("a")
    session.next_frame(NOW + 20)
    session.check_timers(NOW + HEARTBEAT)
    assert session.next_frame(NOW + HEARTBEAT) is None
    assert session.next_timer() == NOW + 20 + HEARTBEAT


def test_suppressed_heartbeats_need_no_timer() -> None:
    session = opened()
    session.suppress_heartbeats()
    assert session.next_timer() is None
    session.check_timers(NOW + 100)
    assert session.next_frame(NOW + 100) is None


def test_a_bad_payload_leaves_the_session_open() -> None:
    session = opened()
    with pytest.raises(BrokenJsonEncoding):
        session.receive('["a')
    assert session.receive('["a"]') == ["a"]


def test_a_lone_surrogate_arrives_as_a_replacement_character() -> None:
    assert opened().receive(r'["\ud83d", "\ud83d\ude00"]') == ["\ufffd", "\U0001f600"]


@given(st.lists(st.text(), max_size=20), st.integers(min_value=1, max_value=5))
def test_every_message_arrives_once_and_in_order_over_any_receivers(
    messages: list[str], each: int
) -> None:
    session = opened()
    received: list[str] = []
    for number, message in enumerate(messages):
        session.send(message)
        if number % each == 0:
            received += [text for frame in frames(session) for text in json.loads(frame[1:])]
            session.detach(NOW)
            session.attach(NOW)
    received += [text for frame in frames(session) for text in json.loads(frame[1:])]
    assert received == messages


class AnySession(RuleBasedStateMachine):
    """Whatever happens in whatever order, the promises hold."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.session = SockJsSession(NOW, SessionLimits(max_buffered_bytes=100))
        self.receiving = False
        self.first = True

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.9, 5.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.session.check_timers(self.now)
        self.receiving &= self.session.state is not State.CLOSED

    @rule(message=st.text(max_size=60))
    def send(self, message: str) -> None:
        with suppress(BufferFull):
            self.session.send(message)

    @rule()
    def close(self) -> None:
        self.session.close(self.now, 3000, "Go away!")

    @precondition(lambda self: self.session.state is not State.CLOSED)
    @rule()
    def attach(self) -> None:
        refusal = self.session.attach(self.now)
        assert (refusal is not None) == self.receiving
        self.receiving = True

    @precondition(lambda self: self.receiving)
    @rule()
    def take(self) -> None:
        frame = self.session.next_frame(self.now)
        if self.first:
            assert frame == "o"
            self.first = False
        elif frame is not None:
            assert frame[0] in "ahc"
        if frame is not None and frame[0] == "c":
            self.detach()

    @precondition(lambda self: self.receiving)
    @rule()
    def detach(self) -> None:
        self.session.detach(self.now)
        self.receiving = False

    @precondition(lambda self: self.receiving)
    @rule()
    def interrupt(self) -> None:
        self.session.interrupt(self.now)
        self.receiving = False

    @invariant()
    def is_bounded_and_never_forgotten(self) -> None:
        assert 0 <= self.session.buffered_bytes <= 100
        when = self.session.next_timer()
        if not self.receiving and self.session.state is not State.CLOSED:
            assert when is not None
            assert when <= self.now + DELAY
        if self.session.state is State.CLOSED:
            assert when is None
            assert self.session.buffered_bytes == 0


TestAnySession = AnySession.TestCase
