"""The rules of a producer session, against a model of the server."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from marketdata.producer.encoding import MAX_BATCH_TICKS, RowEncoder, encode_rows
from marketdata.producer.errors import (
    ProducerError,
    ProducerRefused,
    ProducerReplaced,
    ProtocolViolation,
    SequenceConflict,
    ServerLostTicks,
)
from marketdata.producer.frames import ServerEnded
from marketdata.producer.session import (
    Limits,
    LostRange,
    ProducerSession,
    Rejected,
)
from marketdata.wire.market_data_pb2 import Rejection
from marketdata.wire.producer_pb2 import IngestMessage, ProducerAck, ProducerWelcome
from tests.doubles.session_server import Ledger, ServerSide, error_frame, frame_of

LIMITS = Limits(1_000_000, 64 * 1024 * 1024)
ENCODE = RowEncoder().encode
NOW = 1_735_201_234_567_000_000


def open_session(limits: Limits = LIMITS) -> tuple[ProducerSession, list[Rejected]]:
    rejected: list[Rejected] = []
    return ProducerSession("feed-1", limits, rejected.append), rejected


def welcome(last_sequence: int = 0) -> bytes:
    return frame_of(IngestMessage(welcome=ProducerWelcome(last_sequence=last_sequence)))


def ack(last_sequence: int, **rejections: int) -> bytes:
    listed = [Rejection(sequence=place, reason=reason) for reason, place in rejections.items()]
    message = ProducerAck(last_sequence=last_sequence, rejections=listed)
    return frame_of(IngestMessage(ack=message))


def frames(session: ProducerSession) -> int:
    count = 0
    while session.next_frame() is not None:
        count += 1
    return count


def add(session: ProducerSession, ticks: int) -> None:
    for number in range(ticks):
        session.add(ENCODE("AAPL", 10.0, 1, NOW + number))


class AnyInterleaving(RuleBasedStateMachine):
    """Sends, reads of any size, acks and cuts in any order: every tick counts exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.session, self.rejected = open_session()
        self.ledger = Ledger(last_sequences={"feed-1": 41})
        self.side: ServerSide | None = None
        self.sent: list[int] = []
        self.bad: list[int] = []
        # On the way to the server, and from it.
        self.there = b""
        self.back = b""

    @rule(ticks=st.lists(st.booleans(), min_size=1, max_size=30), together=st.booleans())
    def send(self, ticks: list[bool], together: bool) -> None:
        rows = []
        for is_good in ticks:
            number = len(self.sent) + 1
            rows.append(("AAPL", 10.0 if is_good else -1.0, number, NOW))
            self.sent.append(number)
            if not is_good:
                self.bad.append(number)
        if together:
            for piece in encode_rows(rows):
                self.session.add(piece.data, piece.ticks)
        else:
            for row in rows:
                self.session.add(ENCODE(*row))

    @precondition(lambda self: self.side is None)
    @rule()
    def connect(self) -> None:
        self.side = ServerSide(self.ledger)
        self.there, self.back = self.session.open_connection(), b""

    @precondition(lambda self: self.side is not None)
    @rule()
    def write_frame(self) -> None:
        self.there += self.session.next_frame() or b""

    @precondition(lambda self: self.there)
    @rule(size=st.integers(1, 3000))
    def read_at_server(self, size: int) -> None:
        assert self.side is not None
        self.back += self.side.receive(self.there[:size])
        self.there = self.there[size:]

    @precondition(lambda self: self.side is not None and self.side.batches)
    @rule()
    def apply_batch(self) -> None:
        assert self.side is not None
        self.back += self.side.apply_next()

    @precondition(lambda self: self.back)
    @rule(size=st.integers(1, 200))
    def read_at_producer(self, size: int) -> None:
        self.session.receive_data(self.back[:size])
        self.back = self.back[size:]

    @precondition(lambda self: self.side is not None)
    @rule(applies=st.booleans())
    def cut(self, applies: bool) -> None:
        assert self.side is not None
        while applies and self.side.batches:
            self.side.apply_next()
        self.session.close_connection()
        self.side, self.there, self.back = None, b"", b""

    @invariant()
    def numbers_add_up(self) -> None:
        session = self.session
        assert session.sent == len(self.sent)
        assert session.sent == session.acked + session.rejected + session.unacked
        assert [each.tick.volume for each in self.rejected] == self.bad[: len(self.rejected)]

    def teardown(self) -> None:
        if self.side is not None:
            self.cut(applies=False)
        self.connect()
        while self.there or self.back or self.session.unacked:
            while (frame := self.session.next_frame()) is not None:
                self.there += frame
            if self.there:
                self.read_at_server(len(self.there))
            assert self.side is not None
            while self.side.batches:
                self.apply_batch()
            if self.back:
                self.read_at_producer(len(self.back))
        self.numbers_add_up()
        good = [number for number in self.sent if number not in set(self.bad)]
        assert [tick.volume for tick in self.ledger.applied] == good
        assert [each.tick.volume for each in self.rejected] == self.bad
        assert [each.sequence - 41 for each in self.rejected] == self.bad
        assert self.session.acked == len(good)
        assert self.session.unacked_bytes == 0


AnyInterleaving.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestAnyInterleaving = AnyInterleaving.TestCase


def test_nothing_is_sent_before_the_welcome() -> None:
    session, _ = open_session()
    add(session, 3)
    session.open_connection()
    assert session.next_frame() is None


def test_under_a_light_load_two_batches_are_in_flight_and_the_rest_joins_the_next() -> None:
    session, _ = open_session()
    session.open_connection()
    session.receive_data(welcome())
    sizes = []
    for _ in range(5):
        add(session, 1)
        sizes.append(frames(session))
    assert sizes == [1, 1, 0, 0, 0]
    session.receive_data(ack(1))
    assert frames(session) == 1
    session.receive_data(ack(2))
    session.receive_data(ack(5))
    assert session.acked == 5


def test_full_batches_do_not_wait_for_answers() -> None:
    session, _ = open_session()
    session.open_connection()
    session.receive_data(welcome())
    add(session, 4 * MAX_BATCH_TICKS + 1)
    assert frames(session) == 4


def test_a_fresh_process_goes_on_after_the_last_sequence() -> None:
    session, _ = open_session()
    session.open_connection()
    add(session, 2)
    session.receive_data(welcome(1000))
    assert frames(session) == 1
    assert session.last_sequence == 1002
    session.receive_data(ack(1002))
    assert session.acked == 2


def test_an_ack_of_what_only_an_earlier_connection_sent_waits_for_its_rejections() -> None:
    session, rejected = open_session()
    session.open_connection()
    session.receive_data(welcome())
    for _ in range(2):
        add(session, 1)
        session.next_frame()
    session.open_connection()
    session.receive_data(welcome(2))
    session.next_frame()
    session.receive_data(ack(2))
    assert session.acked == 1
    session.next_frame()
    session.receive_data(ack(2, price_not_positive=2))
    assert (session.acked, session.rejected) == (1, 1)
    assert [each.sequence for each in rejected] == [2]


def test_a_rejection_counts_once_and_with_the_ack_that_covers_it() -> None:
    session, rejected = open_session()
    session.open_connection()
    session.receive_data(welcome())
    add(session, 3)
    session.next_frame()
    session.receive_data(ack(1, price_not_positive=2))
    assert rejected == []
    session.receive_data(ack(3, price_not_positive=2))
    session.receive_data(ack(3, price_not_positive=2))
    assert [(each.sequence, each.reason) for each in rejected] == [(2, "price_not_positive")]
    assert (session.acked, session.rejected, session.unacked) == (2, 1, 0)


def test_the_counts_add_up_whenever_a_rejection_is_reported() -> None:
    seen: list[tuple[int, int, int]] = []
    session = ProducerSession(
        "feed-1",
        LIMITS,
        lambda _: seen.append((session.acked, session.rejected, session.unacked)),
    )
    session.open_connection()
    session.receive_data(welcome())
    add(session, 5)
    session.next_frame()
    session.receive_data(ack(5, first=2, second=4))
    assert seen == [(1, 1, 3), (2, 2, 1)]
    assert (session.acked, session.rejected, session.unacked) == (3, 2, 0)


def test_rejections_of_ticks_that_were_not_sent_are_not_kept() -> None:
    session, rejected = open_session()
    session.open_connection()
    session.receive_data(welcome())
    add(session, 1)
    session.next_frame()
    session.receive_data(ack(1, price_not_positive=2))
    add(session, 1)
    session.next_frame()
    session.receive_data(ack(2))
    assert (session.acked, rejected) == (2, [])


def test_a_server_that_lost_acked_ticks_ends_the_session() -> None:
    session, _ = open_session()
    session.open_connection()
    session.receive_data(welcome(10))
    add(session, 5)
    session.next_frame()
    session.receive_data(ack(13))
    session.open_connection()
    with pytest.raises(ServerLostTicks, match="lost 4 acked ticks") as caught:
        session.receive_data(welcome(9))
    assert (caught.value.first_sequence, caught.value.last_sequence) == (10, 13)


def test_the_session_goes_on_after_a_loss_if_it_may() -> None:
    lost: list[LostRange] = []
    session = ProducerSession("feed-1", LIMITS, lambda _: None, lost.append)
    session.open_connection()
    session.receive_data(welcome())
    add(session, 3)
    session.next_frame()
    session.receive_data(ack(2))
    for _ in range(2):
        session.open_connection()
        session.receive_data(welcome(0))
    session.next_frame()
    session.receive_data(ack(3))
    assert lost == [LostRange(1, 2)]
    assert session.acked == 3


def test_empty_ticks_take_the_place_of_those_that_the_server_lost() -> None:
    lost: list[LostRange] = []
    rejected: list[Rejected] = []
    session = ProducerSession("feed-1", LIMITS, rejected.append, lost.append)
    ledger = Ledger()
    sizes = []
    for connection in range(3):
        side = ServerSide(ledger)
        session.receive_data(side.receive(session.open_connection()))
        if connection == 0:
            add(session, 25_000)
        while (frame := session.next_frame()) is not None:
            side.receive(frame)
            sizes += [len(batch.ticks) for batch in side.batches]
            while side.batches:
                session.receive_data(side.apply_next())
        if connection == 0:
            ledger.last_sequences["feed-1"] = 2_000
            add(session, 7)
    assert lost == [LostRange(2_001, 25_000)]
    assert sizes == [10_000, 10_000, 5_000, 10_000, 10_000, 3_000, 7]
    assert ledger.last_sequences == {"feed-1": 25_007}
    assert (session.sent, session.acked, session.rejected) == (25_007, 25_007, 0)
    assert rejected == []


def test_a_server_with_more_than_was_sent_ends_the_session() -> None:
    session, _ = open_session()
    session.open_connection()
    session.receive_data(welcome(10))
    add(session, 1)
    session.next_frame()
    # Not yet written, so the server cannot have it.
    add(session, 1)
    session.open_connection()
    with pytest.raises(SequenceConflict, match="up to sequence 12, only 11 were sent"):
        session.receive_data(welcome(12))


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("invalid_producer_id", ProducerRefused),
        ("replaced", ProducerReplaced),
        ("shutting_down", ServerEnded),
    ],
)
def test_errors_of_the_server_are_raised_by_name(reason: str, error: type[ProducerError]) -> None:
    session, _ = open_session()
    session.open_connection()
    with pytest.raises(error, match=f"{reason}: because"):
        session.receive_data(error_frame(reason))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "announces 1213486160 bytes"),
        (b"\0\0\0\0", "announces 0 bytes"),
        (b"\0\0\0\2\x0a\x05", "does not parse"),
        (b"\0\0\0\2\x62\x00", "sent None where it cannot come"),
        (ack(1), "sent 'ack' where it cannot come"),
        (welcome() + welcome(), "sent 'welcome' where it cannot come"),
        (welcome() + ack(1), "acked sequence 1, the last one sent is 0"),
    ],
)
def test_anything_else_is_a_violation(data: bytes, problem: str) -> None:
    session, _ = open_session()
    session.open_connection()
    with pytest.raises(ProtocolViolation, match=problem):
        session.receive_data(data)


def test_memory_is_bounded_by_ticks_and_bytes() -> None:
    session, _ = open_session(Limits(3, 100))
    assert session.has_room(3, 100)
    assert not session.has_room(4, 1)
    assert not session.has_room(1, 101)
    session.add(b"x" * 60)
    assert session.has_room(2, 40)
    assert not session.has_room(1, 41)
