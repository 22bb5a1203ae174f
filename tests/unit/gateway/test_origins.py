"""Whose pages may use the server."""

from __future__ import annotations

import pytest

from gateway.clients.origins import is_allowed, parse_origins

SAME = parse_origins("")
LISTED = parse_origins("https://app.example.com, http://localhost:3000/ ,https://ÜBER.example")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8080", "localhost:8080"),
        ("http://LocalHost:8080", "localhost:8080"),
        ("http://example.com", "example.com"),
        ("http://example.com", "example.com:80"),
        ("https://example.com", "example.com"),
        ("https://example.com:443", "example.com"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_pages_of_the_server_itself_are_allowed(origin: str, host: str) -> None:
    assert is_allowed(origin, host, SAME)
    assert is_allowed(origin, host, LISTED)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:3001", "localhost:8080"),
        ("http://localhost", "localhost:8080"),
        ("https://example.com", "example.com:80"),
        ("http://example.com.evil.example", "example.com"),
        ("http://example.com@evil.example", "evil.example"),
        ("http://evil.example/example.com", "example.com"),
        ("http://evil.example#example.com", "example.com"),
        ("null", "example.com"),
        ("null", "null"),
        ("", ""),
        ("http://", ""),
        ("file://", ""),
        ("chrome-extension://abc", "abc"),
        ("http://example.com", ""),
        ("http://example.com:99999999", "example.com:99999999"),
    ],
)
def test_other_pages_are_not(origin: str, host: str) -> None:
    assert not is_allowed(origin, host, SAME)
    assert not is_allowed(origin, host, LISTED)


@pytest.mark.parametrize(
    "origin", ["https://app.example.com", "http://localhost:3000", "https://über.example"]
)
def test_pages_of_a_listed_origin_are_allowed(origin: str) -> None:
    assert is_allowed(origin, "api.example.com", LISTED)
    assert not is_allowed(origin + ":1", "api.example.com", LISTED)


def test_a_star_allows_every_page() -> None:
    for origin in ("http://a.example", "null"):
        assert is_allowed(origin, "b.example", parse_origins("https://c.example,*"))


@pytest.mark.parametrize(
    "value", ["example.com", "https://", "https://a.example/path", "null", "ftp://a.example", "*.a"]
)
def test_what_is_no_origin_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        parse_origins(value)
