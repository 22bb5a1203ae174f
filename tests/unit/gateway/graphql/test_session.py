"""The rules of graphql-transport-ws, row by row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.graphql.session import (
    MAX_ID_LENGTH,
    REASONS,
    TRANSITIONS,
    CloseCode,
    Complete,
    MessageType,
    Phase,
    Session,
    Subscribe,
)

SUBSCRIBE = {"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }"}}
MESSAGES: dict[MessageType, dict[str, Any]] = {
    MessageType.CONNECTION_INIT: {"type": "connection_init"},
    MessageType.PING: {"type": "ping"},
    MessageType.PONG: {"type": "pong"},
    MessageType.SUBSCRIBE: SUBSCRIBE,
    MessageType.COMPLETE: {"type": "complete", "id": "1"},
}


def send(session: Session, message: object) -> Subscribe | Complete | None:
    return session.receive_message(json.dumps(message))


def sent(session: Session) -> list[Any]:
    return [json.loads(message) for message in session.messages_to_send()]


def acknowledged() -> Session:
    session = Session()
    send(session, {"type": "connection_init"})
    assert sent(session) == [{"type": "connection_ack"}]
    return session


@pytest.mark.parametrize(("phase", "kind"), TRANSITIONS)
def test_every_message_leads_where_the_table_says(phase: Phase, kind: MessageType) -> None:
    session = acknowledged() if phase is Phase.ACKNOWLEDGED else Session()
    send(session, MESSAGES[kind])
    target = TRANSITIONS[phase, kind]
    if isinstance(target, CloseCode):
        assert session.phase is Phase.CLOSED
        assert session.closing == (target, REASONS[target])
    else:
        assert (session.phase, session.closing) == (target, None)


def test_the_table_has_a_row_for_everything_a_client_may_send() -> None:
    open_phases = set(Phase) - {Phase.CLOSED}
    assert set(TRANSITIONS) == {(phase, kind) for phase in open_phases for kind in MessageType}


def test_subscribe_is_handed_on_with_all_it_says() -> None:
    payload = {
        "query": "query A { a }",
        "operationName": "A",
        "variables": {"v": 1},
        "extensions": {"e": 1},
    }
    event = send(acknowledged(), {"type": "subscribe", "id": "x", "payload": payload})
    assert event == Subscribe("x", "query A { a }", "A", {"v": 1})


def test_what_may_be_null_may_be_null() -> None:
    payload = {"query": "{a}", "operationName": None, "variables": None, "extensions": None}
    event = send(acknowledged(), {"type": "subscribe", "id": "x", "payload": payload})
    assert event == Subscribe("x", "{a}", None, None)


def test_an_id_in_use_closes_with_4409() -> None:
    session = acknowledged()
    send(session, SUBSCRIBE)
    assert send(session, SUBSCRIBE) is None
    assert session.closing == (4409, "Subscriber for 1 already exists")


def test_an_id_is_free_again_after_complete_from_the_client() -> None:
    session = acknowledged()
    send(session, SUBSCRIBE)
    assert send(session, {"type": "complete", "id": "1"}) == Complete("1")
    assert isinstance(send(session, SUBSCRIBE), Subscribe)


def test_an_id_is_free_again_after_complete_from_the_server() -> None:
    session = acknowledged()
    send(session, SUBSCRIBE)
    assert json.loads(session.complete("1")) == {"id": "1", "type": "complete"}
    assert isinstance(send(session, SUBSCRIBE), Subscribe)


def test_an_id_is_free_again_after_an_error() -> None:
    session = acknowledged()
    send(session, SUBSCRIBE)
    message = json.loads(session.error("1", [{"message": "no"}]))
    assert message == {"id": "1", "type": "error", "payload": [{"message": "no"}]}
    assert session.closing is None
    assert isinstance(send(session, SUBSCRIBE), Subscribe)


def test_complete_for_an_unknown_id_is_ignored() -> None:
    session = acknowledged()
    assert send(session, {"type": "complete", "id": "9"}) is None
    assert session.closing is None


def test_ping_is_answered_before_the_acknowledgement_with_its_payload() -> None:
    session = Session()
    send(session, {"type": "ping"})
    send(session, {"type": "ping", "payload": {"n": 1}})
    assert sent(session) == [{"type": "pong"}, {"type": "pong", "payload": {"n": 1}}]


def test_next_carries_a_payload_that_is_json_already() -> None:
    message = acknowledged().next('quote " it', b'{"data":{"a":1.50}}')
    assert message == b'{"id":"quote \\" it","type":"next","payload":{"data":{"a":1.50}}}'


def test_without_connection_init_the_time_runs_out() -> None:
    session = Session()
    session.initialisation_timeout()
    assert session.closing == (4408, "Connection initialisation timeout")


def test_after_connection_init_no_time_runs_out() -> None:
    session = acknowledged()
    session.initialisation_timeout()
    assert session.closing is None


def test_who_is_not_accepted_is_closed_with_4403() -> None:
    session = Session(accept=lambda payload: payload.get("token") == "good")
    send(session, {"type": "connection_init", "payload": {"token": "bad"}})
    assert session.closing == (4403, "Forbidden")
    assert session.messages_to_send() == []
    session = Session(accept=lambda payload: payload.get("token") == "good")
    send(session, {"type": "connection_init", "payload": {"token": "good"}})
    assert session.phase is Phase.ACKNOWLEDGED


def test_who_speaks_no_common_subprotocol_is_closed_with_4406() -> None:
    session = Session()
    session.refuse_subprotocol()
    assert session.closing == (4406, "Subprotocol not acceptable")


def test_after_the_end_nothing_is_taken() -> None:
    session = Session()
    send(session, SUBSCRIBE)
    assert session.closing == (4401, "Unauthorized")
    assert send(session, {"type": "connection_init"}) is None
    assert session.messages_to_send() == []


@pytest.mark.parametrize(
    "message",
    [
        b'{"type":"ping"}',
        "",
        "{",
        "[]",
        '"ping"',
        "{}",
        '{"type":null}',
        '{"type":"connection_ack"}',
        '{"type":"next","id":"1"}',
        '{"type":"start","id":"1"}',
        '{"type":"connection_init","payload":"x"}',
        '{"type":"ping","payload":[]}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","id":"1"}',
        '{"type":"subscribe","id":1,"payload":{"query":"{a}"}}',
        '{"type":"subscribe","id":"","payload":{"query":"{a}"}}',
        '{"type":"subscribe","id":"1","payload":{}}',
        '{"type":"subscribe","id":"1","payload":{"query":null}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{a}","operationName":1}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{a}","extensions":1}}',
        '{"type":"complete"}',
        '{"type":"complete","id":null}',
        "[" * 5000,
    ],
)
def test_what_is_not_a_message_closes_with_4400(message: str | bytes) -> None:
    session = acknowledged()
    assert session.receive_message(message) is None
    assert session.closing is not None
    code, reason = session.closing
    assert code == 4400
    assert 0 < len(reason) <= 123


@pytest.mark.parametrize(("length", "closed"), [(MAX_ID_LENGTH, False), (MAX_ID_LENGTH + 1, True)])
def test_ids_are_bounded(length: int, closed: bool) -> None:
    session = acknowledged()
    send(session, {**SUBSCRIBE, "id": "x" * length})
    assert (session.closing is not None) == closed


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
likely = st.fixed_dictionaries(
    {"type": st.sampled_from([*MessageType, "next", "x"])},
    optional={
        "id": st.sampled_from(["1", "2", "", 1, None]),
        "payload": st.fixed_dictionaries(
            {}, optional={"query": st.sampled_from(["{a}", "", None]), "variables": json_values}
        )
        | json_values,
    },
)


@given(st.lists(likely | json_values, max_size=20))
def test_whatever_comes_there_is_an_answer_or_one_close(messages: list[Any]) -> None:
    session = Session()
    for message in messages:
        before = session.closing
        event = send(session, message)
        if before is not None:
            assert event is None
            assert session.closing == before
        if isinstance(event, Subscribe):
            assert event.id in session.active
        for answer in sent(session):
            assert answer["type"] in {"connection_ack", "pong"}
