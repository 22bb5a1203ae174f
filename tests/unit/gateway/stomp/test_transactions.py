"""SENDs of a transaction appear at COMMIT, and what is held is bounded."""

from __future__ import annotations

import pytest

from gateway.stomp.protocol.errors import (
    CloseCode,
    SessionLimitExceeded,
    StompError,
    TransactionInUse,
    UnknownTransaction,
)
from gateway.stomp.protocol.events import Event, SignalSent
from gateway.stomp.protocol.session import SessionLimits
from tests.unit.gateway.stomp.harness import Client


def send(client: Client, sender: str, *headers: str) -> list[Event]:
    body = f'{{"type":"JOIN","senderId":"{sender}"}}'
    return client.send("SEND", "destination:/app/signal", *headers, body=body)


def senders(events: list[Event]) -> list[str]:
    return [event.signal.sender_id for event in events if isinstance(event, SignalSent)]


def failure(client: Client) -> StompError | None:
    assert client.session.close is not None
    return client.session.close.error


def test_sends_of_a_transaction_appear_only_at_commit_in_order() -> None:
    client = Client.connected()
    client.send("BEGIN", "transaction:t")
    client.send("BEGIN", "transaction:u")
    assert send(client, "a", "transaction:t") == []
    assert send(client, "b", "transaction:u") == []
    assert send(client, "c", "transaction:t") == []
    assert senders(send(client, "d")) == ["d"]
    assert senders(client.send("COMMIT", "transaction:t")) == ["a", "c"]
    assert senders(client.send("COMMIT", "transaction:u")) == ["b"]


def test_abort_drops_them() -> None:
    client = Client.connected()
    client.send("BEGIN", "transaction:t")
    send(client, "a", "transaction:t")
    assert client.send("ABORT", "transaction:t") == []
    client.send("BEGIN", "transaction:t")
    assert client.send("COMMIT", "transaction:t") == []


def test_a_disconnect_drops_them() -> None:
    client = Client.connected()
    client.send("BEGIN", "transaction:t")
    send(client, "a", "transaction:t")
    assert client.send("DISCONNECT") == []
    assert client.send("COMMIT", "transaction:t") == []


@pytest.mark.parametrize("command", ["COMMIT", "ABORT"])
def test_unknown_transactions_are_errors(command: str) -> None:
    client = Client.connected()
    client.send(command, "transaction:t")
    assert isinstance(failure(client), UnknownTransaction)
    client.receive_error()


def test_a_send_or_ack_in_an_unknown_transaction_is_an_error() -> None:
    client = Client.connected()
    send(client, "a", "transaction:t")
    assert isinstance(failure(client), UnknownTransaction)


def test_a_repeated_transaction_is_an_error() -> None:
    client = Client.connected()
    client.send("BEGIN", "transaction:t")
    client.send("BEGIN", "transaction:t")
    assert isinstance(failure(client), TransactionInUse)


def test_an_ended_transaction_may_begin_again_and_not_end_again() -> None:
    client = Client.connected()
    client.send("BEGIN", "transaction:t")
    client.send("COMMIT", "transaction:t")
    client.send("BEGIN", "transaction:t")
    client.send("ABORT", "transaction:t")
    client.send("ABORT", "transaction:t")
    assert isinstance(failure(client), UnknownTransaction)


def test_a_bad_send_in_a_transaction_fails_at_once() -> None:
    client = Client.connected()
    client.send("BEGIN", "transaction:t")
    client.send("SEND", "destination:/topic/signaling", "transaction:t", "receipt:5")
    assert client.receive_error().headers["receipt-id"] == "5"


def test_as_many_transactions_as_the_limit_may_be_open_and_one_more_may_not() -> None:
    client = Client.connected(limits=SessionLimits(max_transactions=2))
    for name in "ab":
        client.send("BEGIN", f"transaction:{name}")
    client.send("COMMIT", "transaction:a")
    client.send("BEGIN", "transaction:c")
    assert client.session.close is None
    client.send("BEGIN", "transaction:d")
    assert isinstance(failure(client), SessionLimitExceeded)
    assert client.session.close is not None
    assert client.session.close.code == CloseCode.LIMIT_EXCEEDED


def test_what_transactions_hold_is_bounded_in_bytes_over_all_of_them() -> None:
    client = Client.connected(limits=SessionLimits(max_transaction_bytes=20_000))
    held = 0
    # Ended transactions give their room back.
    for _ in range(10):
        client.send("BEGIN", "transaction:t")
        for _ in range(10):
            assert send(client, "a", "transaction:t") == []
        assert len(client.send("COMMIT", "transaction:t")) == 10
    client.send("BEGIN", "transaction:t")
    client.send("BEGIN", "transaction:u")
    while client.session.close is None:
        send(client, "a", f"transaction:{'tu'[held % 2]}")
        held += 1
    assert isinstance(failure(client), SessionLimitExceeded)
    assert 10 <= held <= 20
