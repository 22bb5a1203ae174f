"""Peers get what a gateway would send, each tick once."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.peer_senders import StateWriter, text_message
from benchmarks.watching import STATE


def test_a_state_has_the_volume_and_the_time_of_its_tick() -> None:
    writer = StateWriter(["AAPL", "MSFT"])
    rows = [writer.write(number, 1_700_000_000_123_456_789 + number) for number in range(5)]
    assert [row for row, _ in rows] == [0, 1, 0, 1, 0]
    found = [json.loads(state) for _, state in rows]
    assert [each["symbol"] for each in found] == ["AAPL", "MSFT", "AAPL", "MSFT", "AAPL"]
    assert [each["volume"] for each in found] == ["1", "1", "2", "2", "3"]
    assert found[4]["timestampNs"] == "1700000000123456793"
    assert found[4]["timestamp"] == "1700000000123"


def test_clients_find_the_states() -> None:
    _, state = StateWriter(["AAPL"]).write(0, 1_700_000_000_123_456_789)
    pushed = b'{"push":{"channel":"AAPL","pub":{"data":' + state + b"}}}"
    assert STATE.findall(pushed) == [(b"AAPL", b"1", b"1700000000123456789")]


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536])
def test_a_message_says_its_size(size: int) -> None:
    data = text_message(b"x" * size)
    lengths = {126: 2, 127: 8}
    short = data[1] & 0x7F
    more = lengths.get(short, 0)
    said = int.from_bytes(data[2 : 2 + more]) if more else short
    assert data[0] == 0x81
    assert said == size == len(data) - 2 - more - 4
    assert re.fullmatch(b"x+", data[-size:])
