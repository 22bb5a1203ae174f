"""The outbox of one client, at both sides of each bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.outbox import BufferFull, Outbox


def outbox(high_water_bytes: int = 8, max_buffered_bytes: int = 16) -> Outbox[str]:
    return Outbox(high_water_bytes, max_buffered_bytes)


@given(st.lists(st.text(min_size=1)), st.integers(min_value=1, max_value=50))
def test_messages_come_out_once_and_in_order(messages: list[str], most: int) -> None:
    box: Outbox[str] = Outbox(8, 1_000_000)
    for message in messages:
        box.put(message)
    assert box.buffered_bytes == sum(len(message.encode()) for message in messages)
    taken: list[str] = []
    while batch := box.take(most):
        assert len(batch) == 1 or sum(len(message.encode()) for message in batch) <= most
        taken += batch
    assert taken == messages
    assert box.buffered_bytes == 0


def test_a_message_that_just_fits_is_taken() -> None:
    box = outbox()
    box.put("x" * 16)
    assert box.buffered_bytes == 16


def test_a_message_that_does_not_fit_is_refused_and_nothing_changes() -> None:
    box = outbox()
    box.put("x" * 10)
    with pytest.raises(BufferFull, match="7 bytes does not fit: 10 of 16 bytes are buffered"):
        box.put("x" * 7)
    assert box.take(100) == ["x" * 10]


def test_what_was_taken_counts_until_it_is_written() -> None:
    box = outbox()
    box.put("x" * 10)
    box.take(100)
    assert box.buffered_bytes == 10
    box.written()
    assert box.buffered_bytes == 0


def test_it_is_writable_below_high_water_and_again_at_a_quarter_of_it() -> None:
    box = outbox()
    box.put("x" * 7)
    assert box.writable
    box.put("x")
    assert not box.writable
    box.put("xx")
    box.put("y")
    assert box.take(8) == ["x" * 7, "x"]
    # 3 bytes are queued, and low water is 2.
    assert not box.writable
    assert box.take(2) == ["xx"]
    assert not box.writable
    box.written()
    assert box.writable


def test_bytes_are_counted_as_utf8() -> None:
    box = outbox()
    box.put("ü")
    assert box.buffered_bytes == 2


def test_a_cleared_box_is_empty_and_writable() -> None:
    box = outbox()
    box.put("x" * 10)
    box.clear()
    assert (box.buffered_bytes, box.writable, bool(box)) == (0, True, False)
