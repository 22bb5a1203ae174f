"""GraphQL over HTTP: what a request asks for."""

from __future__ import annotations

import pytest

from gateway.graphql.requests import (
    BadRequest,
    GraphQLRequest,
    MediaType,
    check_content_type,
    negotiate,
    parse_body,
    parse_query_string,
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, MediaType.LEGACY),
        ("", MediaType.LEGACY),
        ("*/*", MediaType.LEGACY),
        ("application/*", MediaType.LEGACY),
        ("application/json", MediaType.LEGACY),
        ("application/json; charset=utf-8", MediaType.LEGACY),
        ("application/graphql-response+json", MediaType.GRAPHQL),
        ("APPLICATION/GraphQL-Response+JSON; charset=UTF-8", MediaType.GRAPHQL),
        ("application/graphql-response+json, application/json", MediaType.GRAPHQL),
        ("application/json, application/graphql-response+json", MediaType.LEGACY),
        ("application/json;q=0.9, application/graphql-response+json", MediaType.GRAPHQL),
        ("application/graphql-response+json;q=0, application/json", MediaType.LEGACY),
        ("text/html, application/xhtml+xml, */*;q=0.8", MediaType.LEGACY),
        ('application/json; charset="utf-8"', MediaType.LEGACY),
    ],
)
def test_the_response_is_written_as_the_client_prefers(
    accept: str | None, expected: MediaType
) -> None:
    assert negotiate(accept) is expected


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/json; charset=latin-1", "application/json;q=0", "*/*;q=none"],
)
def test_a_client_that_takes_nothing_of_ours_is_told_406(accept: str) -> None:
    with pytest.raises(BadRequest) as caught:
        negotiate(accept)
    assert caught.value.status == 406


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", 'application/json; charset="UTF-8"']
)
def test_json_is_taken(content_type: str) -> None:
    check_content_type(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json; charset=utf-16",
        "text/plain; application/json",
    ],
)
def test_what_a_page_of_another_site_can_send_is_refused_with_415(content_type: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        check_content_type(content_type)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"query":"{a}"}', GraphQLRequest("{a}")),
        (
            b'{"query":"{a}","variables":null,"operationName":null,"extensions":null}',
            GraphQLRequest("{a}"),
        ),
        (
            b'{"query":"{a}","variables":{"v":[1]},"operationName":"A","extensions":{},"x":1}',
            GraphQLRequest("{a}", "A", {"v": [1]}),
        ),
    ],
)
def test_a_body_is_read(body: bytes, expected: GraphQLRequest) -> None:
    assert parse_body(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        b'[{"query":"{a}"}]',
        b"{}",
        b'{"query":null}',
        b'{"query":""}',
        b'{"query":{"a":1}}',
        b'{"query":"{a}","variables":"{}"}',
        b'{"query":"{a}","variables":[]}',
        b'{"query":"{a}","operationName":1}',
        b'{"query":"{a}","extensions":[]}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_a_request_is_400(body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_body(body)
    assert caught.value.status == 400


def test_a_query_string_is_read() -> None:
    parameters = {"query": "{a}", "variables": '{"v":1}', "operationName": "A", "extensions": "{}"}
    assert parse_query_string(parameters) == GraphQLRequest("{a}", "A", {"v": 1})


def test_an_empty_parameter_is_an_absent_one() -> None:
    parameters = {"query": "{a}", "variables": "", "operationName": "", "extensions": ""}
    assert parse_query_string(parameters) == GraphQLRequest("{a}")


@pytest.mark.parametrize(
    "parameters", [{}, {"query": ""}, {"query": "{a}", "variables": "{"}, {"variables": "{}"}]
)
def test_a_query_string_that_is_not_a_request_is_400(parameters: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_query_string(parameters)
    assert caught.value.status == 400
