"""Heart-beats: when they are agreed, sent, and missed."""

from __future__ import annotations

import pytest

from gateway.stomp.protocol.errors import CloseCode, ConnectTimeout, HeartBeatMissed, InvalidHeader
from gateway.stomp.protocol.heartbeat import parse_heart_beat
from gateway.stomp.protocol.session import SessionLimits
from tests.unit.gateway.stomp.harness import AAPL, Client


def connected(client_ms: str, server_ms: tuple[int, int], version: str = "1.2") -> Client:
    limits = SessionLimits(heart_beat_ms=server_ms)
    return Client.connected(f"heart-beat:{client_ms}", version=version, limits=limits)


def test_a_heart_beat_header_is_two_numbers() -> None:
    assert parse_heart_beat("0,0") == (0, 0)
    assert parse_heart_beat("4000,999999999") == (4000, 999999999)


@pytest.mark.parametrize(
    "value", ["", "0", "1000", "1,", ",1", "1,2,3", "-1,1", "a,b", "1.5,1", "1, 2", "1" * 10 + ",0"]
)
def test_a_malformed_heart_beat_header_is_refused_with_error(value: str) -> None:
    with pytest.raises(InvalidHeader):
        parse_heart_beat(value)
    client = Client()
    assert client.send("CONNECT", "accept-version:1.2", f"heart-beat:{value}") == []
    assert "heart-beat" in client.receive_error().headers["message"]


def test_connected_says_what_the_server_can_do_and_wants() -> None:
    client = Client(SessionLimits(heart_beat_ms=(5000, 7000)))
    client.send("CONNECT", "accept-version:1.1", "heart-beat:1,2")
    assert client.receive()[0].headers["heart-beat"] == "5000,7000"


@pytest.mark.parametrize("headers", [(), ("heart-beat:0,0",)])
def test_without_heart_beat_or_with_0_0_none_flow_and_nobody_is_dropped(
    headers: tuple[str, ...],
) -> None:
    client = Client.connected(*headers)
    assert client.session.next_timer() is None
    client.wait(100_000)
    assert client.session.close is None
    assert client.receive_raw() == []
    assert not client.session.expects_heart_beats


def test_a_server_that_turned_them_off_sends_and_expects_none() -> None:
    client = connected("1000,1000", (0, 0))
    assert client.session.next_timer() is None
    assert not client.session.expects_heart_beats


def test_stomp_1_0_has_no_heart_beats() -> None:
    client = Client()
    client.send("CONNECT", "heart-beat:nonsense")
    (answer,) = client.receive()
    assert "heart-beat" not in answer.headers
    assert client.session.next_timer() is None


@pytest.mark.parametrize(
    ("client_ms", "server_ms", "interval"),
    [
        ("0,1000", (1000, 0), 1.0),
        ("0,4000", (1000, 0), 4.0),
        ("0,1000", (4000, 0), 4.0),
        ("0,10000", (10_000, 10_000), 10.0),
    ],
)
def test_the_server_writes_an_eol_at_least_every_max_sx_cy(
    client_ms: str, server_ms: tuple[int, int], interval: float
) -> None:
    client = connected(client_ms, server_ms)
    written = 0
    for _ in range(40):
        client.wait(interval / 10)
        if eols := client.receive_raw():
            assert eols == ["\n"]
            written += 1
    # Four intervals, none of them without an EOL, and not many more of them.
    assert 4 <= written <= 6


def test_a_frame_written_in_time_stands_for_an_eol() -> None:
    client = connected("0,1000", (1000, 0))
    subscription = client.subscribe(AAPL, "id:0")
    for _ in range(20):
        client.wait(0.5)
        client.publish(subscription)
        assert [frame.command for frame in client.receive()] == ["MESSAGE"]


def test_eols_do_not_pile_up_for_an_edge_that_does_not_write() -> None:
    client = connected("0,1000", (1000, 0))
    client.wait(1000)
    assert client.receive_raw() == ["\n"]


@pytest.mark.parametrize(
    ("client_ms", "server_ms", "limit"),
    [
        ("1000,0", (0, 1000), 3.0),
        ("1000,0", (0, 4000), 12.0),
        ("4000,0", (0, 1000), 12.0),
    ],
)
def test_a_client_silent_for_3_times_max_cx_sy_is_disconnected(
    client_ms: str, server_ms: tuple[int, int], limit: float
) -> None:
    client = connected(client_ms, server_ms)
    subscription = client.subscribe(AAPL, "id:0")
    assert client.session.expects_heart_beats
    client.wait(limit - 0.001)
    assert client.session.close is None
    client.wait(0.001)
    assert client.session.close is not None
    assert client.session.close.code == CloseCode.TIMEOUT
    assert isinstance(client.session.close.error, HeartBeatMissed)
    assert not subscription.active
    assert client.session.subscriptions == {}
    client.receive_error()
    assert client.session.next_timer() is None


def test_a_client_whose_eols_or_parts_of_frames_come_in_time_stays_connected() -> None:
    client = connected("1000,0", (0, 1000))
    for character in "\n\r\nBEGIN\ntransaction:1\n\n\0":
        client.wait(2.9)
        client.send_raw(character)
    client.wait(2.9)
    assert client.session.close is None


def test_a_timer_left_armed_does_nothing_before_it_is_due() -> None:
    client = connected("1000,1000", (1000, 1000))
    client.session.check_timers(0.5)
    assert client.receive_raw() == []
    assert client.session.next_timer() == 0.75


def test_a_client_that_never_sends_connect_is_dropped_after_a_timeout() -> None:
    client = Client()
    assert client.session.next_timer() == 10.0
    client.wait(9.999)
    client.send_raw("\n\nCONNE")
    assert client.session.close is None
    client.wait(0.001)
    assert client.session.close is not None
    assert isinstance(client.session.close.error, ConnectTimeout)
    assert client.session.close.code == CloseCode.TIMEOUT
    client.receive_error()


def test_a_client_that_connected_in_time_is_not_dropped() -> None:
    client = Client.connected()
    client.wait(1000)
    assert client.session.close is None
