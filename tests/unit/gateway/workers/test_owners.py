"""Every request of one session has one owner, whichever worker reads it, however it is spelt."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rest.paths import decode_path
from gateway.workers.owners import TRANSPORTS, Owners


def owner_of(data: bytes, count: int = 3) -> set[int | None]:
    """Return what each worker says."""
    return {Owners("/ws", number, count, decode_path).other_owner(data) for number in range(count)}


def request(path: str, method: str = "POST") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@given(st.text(st.characters(codec="utf-8", exclude_characters="/."), min_size=1, max_size=20))
def test_workers_agree_and_the_owner_keeps_it(session: str) -> None:
    everyone = set()
    for transport in sorted(TRANSPORTS):
        path = f"/ws/000/{quote(session, safe='')}/{transport}"
        said = owner_of(request(path))
        # The owner says None, the two others its number.
        assert len(said) == 2
        assert None in said
        everyone |= said
    assert len(everyone) == 2


def test_the_server_part_does_not_count() -> None:
    assert owner_of(request("/ws/1/abc/xhr")) == owner_of(request("/ws/2/abc/xhr_send?t=1"))


def test_spellings_of_one_path_have_one_owner() -> None:
    assert owner_of(request("/ws/1/abc/xhr")) == owner_of(request("/w%73/1/%61bc/xh%72"))


def test_sessions_spread_over_all() -> None:
    counts = [0, 0, 0, 0]
    for number in range(4000):
        owner = Owners("/ws", 0, 4, decode_path).other_owner(request(f"/ws/0/s{number}/xhr"))
        counts[owner or 0] += 1
    assert min(counts) > 850


@pytest.mark.parametrize(
    "data",
    [
        request("/ws/1/abc/websocket", "GET"),
        request("/ws/info", "GET"),
        request("/ws", "GET"),
        request("/wsx/1/abc/xhr"),
        request("/ws/1/a.c/xhr"),
        request("/ws/1/abc/other"),
        request("/api/v1/status", "GET"),
        request("http://x/ws/1/abc/xhr"),
        b"POST /ws/1/abc/xhr HTTP/1.1",
        b"\r\nPOST /ws/1/abc/xhr HTTP/1.1\r\n",
        b"",
        b"\x16\x03\x01\r\n",
    ],
)
def test_what_is_no_request_of_a_session_is_for_anyone(data: bytes) -> None:
    assert owner_of(data) == {None}


def test_the_request_line_suffices() -> None:
    assert len(owner_of(b"POST /ws/1/abc/xhr HTTP/1.1\r\n")) == 2


@given(st.binary(max_size=200))
def test_garbage_is_for_anyone(data: bytes) -> None:
    assert owner_of(data) == {None}
