"""Paths, info, iframe page, cookie, origin: what they accept and what they refuse."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.origins import request_origin
from gateway.sockjs.info import encode_iframe, encode_info, entity_tag, session_cookie
from gateway.sockjs.urls import MAX_ID_LENGTH, Page, SessionUrl, parse_path


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", Page.GREETING),
        ("/", Page.GREETING),
        ("/info", Page.INFO),
        ("/iframe-0.1.2.html", Page.IFRAME),
        ("/websocket", Page.RAW_WEBSOCKET),
        ("/000/abc/xhr", SessionUrl("abc", "xhr")),
        ("/a b/c\nd/xhr_send", SessionUrl("c\nd", "xhr_send")),
        ("//", None),
        ("/info/", None),
        ("/a/xhr", None),
        ("//a/xhr", None),
        ("/a//xhr", None),
        ("/a./b/xhr", None),
        ("/a/b./xhr", None),
        ("/a/b/xhr/", None),
        ("/a/b/c/xhr", None),
        ("/a/b/XHR", None),
        (f"/a/{'b' * MAX_ID_LENGTH}/xhr", SessionUrl("b" * MAX_ID_LENGTH, "xhr")),
        (f"/a/{'b' * (MAX_ID_LENGTH + 1)}/xhr", None),
        ("/iframe.html\n", None),
    ],
)
def test_a_path_names_one_thing_or_nothing(path: str, target: Page | SessionUrl | None) -> None:
    assert parse_path(path) == target


@given(st.text(alphabet="/.ab_\n", max_size=20))
def test_a_session_url_has_two_ids_without_dots(path: str) -> None:
    target = parse_path(path)
    if isinstance(target, SessionUrl):
        _, server, session, transport = path.split("/")
        assert server
        assert "." not in server + session
        assert target == SessionUrl(session, transport)


def test_info_has_the_members_clients_read() -> None:
    info = json.loads(encode_info(websocket=True, cookie_needed=False, entropy=2**32 - 1))
    assert info == {
        "websocket": True,
        "cookie_needed": False,
        "origins": ["*:*"],
        "entropy": 4294967295,
    }


@pytest.mark.parametrize("url", ["https://cdn.example/s.js", "//cdn.example/s.js", "s.js", ""])
def test_the_iframe_page_loads_nothing_from_elsewhere(url: str) -> None:
    with pytest.raises(ValueError, match="must be a path on this server"):
        encode_iframe(url)


def test_the_iframe_page_escapes_its_script_and_has_its_own_tag() -> None:
    page = encode_iframe('/s.js?a="><script>')
    assert b'src="/s.js?a=&quot;&gt;&lt;script&gt;"' in page
    assert entity_tag(page) != entity_tag(encode_iframe("/s.js"))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("", "dummy"),
        ("JSESSIONID=abc", "abc"),
        ("a=b;JSESSIONID=abc;c=d", "abc"),
        ("XJSESSIONID=abc", "dummy"),
        ("JSESSIONID=", "dummy"),
        (r'JSESSIONID="\012Set-Cookie: x=y"', "dummy"),
    ],
)
def test_the_cookie_is_the_clients_own_or_a_dummy(header: str, value: str) -> None:
    assert session_cookie(header) == f"JSESSIONID={value}; path=/"


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({}, None),
        ({"origin": "https://a.example"}, "https://a.example"),
        ({"sec-fetch-site": "same-origin", "referer": "https://a.example/x"}, None),
        ({"sec-fetch-site": "none"}, None),
        ({"sec-fetch-site": "cross-site", "referer": "https://a.example/x"}, "https://a.example"),
        ({"sec-fetch-site": "same-site", "referer": "about:blank"}, "null"),
    ],
)
def test_the_origin_is_that_of_the_page_that_asks(
    headers: dict[str, str], origin: str | None
) -> None:
    assert request_origin(headers) == origin
