"""sockjs-protocol 0.3.3: XhrPolling, XhrStreaming, EventSource, HtmlFile, JsonPolling, cookies."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.conformance.sockjs.checks import check_cors, check_not_cached, check_preflight
from tests.conformance.sockjs.client import Client, Response

JAVASCRIPT = "application/javascript;charset=UTF-8"
FORM = "application/x-www-form-urlencoded"

HTMLFILE_HEAD = r"""
<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.callback;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>
""".strip()


def new_session(base: str = "/echo") -> str:
    return f"{base}/000/{uuid.uuid4()}"


@pytest.mark.parametrize("transport", ["xhr", "xhr_send", "xhr_streaming", "jsonp_send"])
async def test_posting_transports_answer_preflights(client: Client, transport: str) -> None:
    await check_preflight(client, f"/echo/abc/abc/{transport}", "OPTIONS, POST")


@pytest.mark.parametrize("transport", ["eventsource", "htmlfile", "jsonp"])
async def test_getting_transports_answer_preflights(client: Client, transport: str) -> None:
    await check_preflight(client, f"/echo/abc/abc/{transport}", "OPTIONS, GET")


@pytest.mark.parametrize(
    ("method", "transport"), [("GET", "xhr"), ("PUT", "xhr_send"), ("POST", "eventsource")]
)
async def test_another_method_is_not_allowed(client: Client, method: str, transport: str) -> None:
    response = await client.request(method, f"/echo/a/a/{transport}")
    assert response.status == 405
    assert response["content-type"] is None
    assert response["allow"]
    assert await response.body() == ""


async def test_an_unknown_transport_is_not_found(client: Client) -> None:
    assert (await client.post("/echo/a/a/telepathy")).status == 404


# xhr, xhr_send


async def test_xhr_polls_one_frame_at_a_time(client: Client) -> None:
    url = new_session()
    response = await client.post(f"{url}/xhr")
    assert (response.status, response.content_type) == (200, JAVASCRIPT)
    check_cors(response)
    check_not_cached(response)
    assert await response.body() == "o\n"
    response = await client.post(f"{url}/xhr_send", '["x"]')
    assert (response.status, response.content_type) == (204, "text/plain;charset=UTF-8")
    check_cors(response)
    check_not_cached(response)
    assert await client.post_body(f"{url}/xhr") == 'a["x"]\n'


async def test_xhr_echoes_the_origin(client: Client) -> None:
    response = await client.post(f"{new_session()}/xhr", Origin="http://page.example")
    check_cors(response, "http://page.example")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ('["x', "Broken JSON encoding."),
        ("", "Payload expected."),
        (b'["\xff"]', "Broken JSON encoding."),
        ("[" * 100_000, "Broken JSON encoding."),
        ("[" + "1" * 10_000 + "]", "Broken JSON encoding."),
        ('"a"', "Payload expected."),
        ("[1]", "Payload expected."),
    ],
)
async def test_a_bad_payload_is_refused_and_the_session_lives_on(
    client: Client, payload: str | bytes, error: str
) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == "o\n"
    response = await client.post(f"{url}/xhr_send", payload)
    assert response.status == 500
    assert error in await response.body()
    await client.send(url, '["a"]')
    assert await client.post_body(f"{url}/xhr") == 'a["a"]\n'


async def test_any_content_type_is_taken(client: Client) -> None:
    url = new_session()
    assert await client.post_body(f"{url}/xhr") == "o\n"
    types = [
        "text/plain",
        "T",
        "application/json",
        "application/xml",
        "",
        "application/json; charset=utf-8",
        "text/xml; charset=utf-8",
        "text/xml",
    ]
    for content_type in types:
        response = await client.post(f"{url}/xhr_send", '["a"]', Content_Type=content_type)
        assert response.status == 204
    expected = "a[" + ",".join(['"a"'] * len(types)) + "]\n"
    assert await client.post_body(f"{url}/xhr") == expected


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Access_Control_Request_Headers": "a, b, c"}, "a, b, c"),
        ({"Access_Control_Request_Headers": ""}, None),
        ({}, None),
    ],
)
async def test_requested_headers_are_allowed(
    client: Client, headers: dict[str, str], allowed: str | None
) -> None:
    response = await client.post(f"{new_session()}/xhr", **headers)
    check_cors(response)
    assert response["access-control-allow-headers"] == allowed


# xhr_streaming, eventsource, htmlfile


async def open_stream(client: Client, url: str, transport: str) -> Response:
    if transport == "xhr_streaming":
        return await client.post(f"{url}/xhr_streaming")
    query = "?c=%63allback" if transport == "htmlfile" else ""
    return await client.get(f"{url}/{transport}{query}")


def framed(transport: str, frame: str) -> str:
    if transport == "xhr_streaming":
        return f"{frame}\n"
    if transport == "eventsource":
        return f"data: {frame}\r\n\r\n"
    return f"<script>\np({json.dumps(frame)});\n</script>\r\n"


STREAMS = {
    "xhr_streaming": JAVASCRIPT,
    "eventsource": "text/event-stream;charset=UTF-8",
    "htmlfile": "text/html;charset=UTF-8",
}


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_stream_carries_each_frame_as_it_comes(client: Client, transport: str) -> None:
    url = new_session()
    response = await open_stream(client, url, transport)
    assert (response.status, response.content_type) == (200, STREAMS[transport])
    check_not_cached(response)
    check_cors(response)
    prelude = await response.chunk()
    if transport == "xhr_streaming":
        assert prelude == "h" * 2048 + "\n"
    elif transport == "eventsource":
        assert prelude == "\r\n"
    else:
        assert prelude.strip() == HTMLFILE_HEAD
        assert len(prelude) > 1024
    assert await response.chunk() == framed(transport, "o")
    await client.send(url, '["x"]')
    assert await response.chunk() == framed(transport, 'a["x"]')
    await client.send(url, r'["  \u0000\n\r "]')
    assert await response.chunk() == framed(transport, r'a["  \u0000\n\r "]')


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_stream_ends_at_the_limit_and_the_next_goes_on(
    client: Client, transport: str
) -> None:
    url = new_session()
    response = await open_stream(client, url, transport)
    await response.chunk()
    assert await response.chunk() == framed(transport, "o")
    await client.send(url, json.dumps(["x" * 4096]))
    assert await response.chunk() == framed(transport, f'a["{"x" * 4096}"]')
    assert await response.chunk() == ""
    await client.send(url, '["between"]')
    response = await open_stream(client, url, transport)
    await response.chunk()
    assert await response.chunk() == framed(transport, 'a["between"]')


async def test_the_limit_counts_framing_and_not_the_prelude(client: Client) -> None:
    url = new_session()
    response = await open_stream(client, url, "xhr_streaming")
    assert len(await response.chunk()) == 2049
    assert await response.chunk() == "o\n"
    message = '"' + "x" * 128 + '"'
    for _ in range(31):
        await client.send(url, f"[{message}]")
        assert await response.chunk() == f"a[{message}]\n"
    assert await response.chunk() == ""


@pytest.mark.parametrize("transport", ["htmlfile", "jsonp"])
async def test_a_callback_is_required(client: Client, transport: str) -> None:
    response = await client.get(f"/echo/a/a/{transport}")
    assert response.status == 500
    assert '"callback" parameter required' in await response.body()


@pytest.mark.parametrize("transport", ["htmlfile", "jsonp"])
@pytest.mark.parametrize("callback", ["a(b", "%3Cscript%3E", "a%0Ab", "a%20b", "a" * 129])
async def test_a_callback_that_is_no_name_is_refused(
    client: Client, transport: str, callback: str
) -> None:
    response = await client.get(f"/echo/a/a/{transport}?c={callback}")
    assert response.status == 500
    assert 'invalid "callback" parameter' in await response.body()


async def test_a_message_cannot_leave_the_script_of_htmlfile(client: Client) -> None:
    url = new_session()
    response = await open_stream(client, url, "htmlfile")
    await response.frame(2)
    await client.send(url, '["</script><script>alert(1)//<!--"]')
    frame = await response.chunk()
    script = frame.removeprefix("<script>\np(").removesuffix(");\n</script>\r\n")
    assert "<" not in script
    assert json.loads(json.loads(script)[1:]) == ["</script><script>alert(1)//<!--"]


# jsonp, jsonp_send


async def test_jsonp_polls_one_frame_at_a_time(client: Client) -> None:
    url = new_session()
    response = await client.get(f"{url}/jsonp?c=%63allback")
    assert (response.status, response.content_type) == (200, JAVASCRIPT)
    check_not_cached(response)
    assert await response.body() == 'callback("o");\r\n'
    response = await client.post(f"{url}/jsonp_send", "d=%5B%22x%22%5D", Content_Type=FORM)
    assert (response.status, response.content_type) == (200, "text/plain;charset=UTF-8")
    check_not_cached(response)
    assert await response.body() == "ok"
    assert await client.get_body(f"{url}/jsonp?c=%63allback") == 'callback("a[\\"x\\"]");\r\n'


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("d=%5B%22x", "Broken JSON encoding."),
        ("d=%5B%22%FF%22%5D", "Broken JSON encoding."),
        ("&".join(["d=%5B%5D"] * 100), "Broken JSON encoding."),
        ("", "Payload expected."),
        ("d=", "Payload expected."),
        ("p=p", "Payload expected."),
    ],
)
async def test_a_bad_form_is_refused_and_the_session_lives_on(
    client: Client, payload: str, error: str
) -> None:
    url = new_session()
    assert await client.get_body(f"{url}/jsonp?c=x") == 'x("o");\r\n'
    response = await client.post(f"{url}/jsonp_send", payload, Content_Type=FORM)
    assert response.status == 500
    assert error in await response.body()
    response = await client.post(f"{url}/jsonp_send", "d=%5B%22b%22%5D", Content_Type=FORM)
    assert await response.body() == "ok"
    assert await client.get_body(f"{url}/jsonp?c=x") == 'x("a[\\"b\\"]");\r\n'


async def test_jsonp_send_takes_a_form_or_plain_text(client: Client) -> None:
    url = new_session()
    assert await client.get_body(f"{url}/jsonp?c=x") == 'x("o");\r\n'
    await client.post(f"{url}/jsonp_send", "d=%5B%22abc%22%5D", Content_Type=FORM)
    await client.post(f"{url}/jsonp_send", '["%61bc"]', Content_Type="text/plain")
    assert await client.get_body(f"{url}/jsonp?c=x") == 'x("a[\\"abc\\",\\"%61bc\\"]");\r\n'


async def test_jsonp_send_to_an_unknown_session_is_not_found(client: Client) -> None:
    assert (await client.post(f"{new_session()}/jsonp_send", "d=[]")).status == 404


async def test_jsonp_keeps_saying_that_the_session_is_closed(client: Client) -> None:
    url = new_session("/close")
    bodies = [await client.get_body(f"{url}/jsonp?c=x") for _ in range(3)]
    close = 'x("c[3000,\\"Go away!\\"]");\r\n'
    assert bodies == ['x("o");\r\n', close, close]


# JSESSIONID


async def test_info_tells_that_a_cookie_is_needed(client: Client) -> None:
    response = await client.get("/cookie_needed_echo/info")
    assert response["set-cookie"] is None
    assert json.loads(await response.body())["cookie_needed"] is True


@pytest.mark.parametrize(
    ("method", "transport"),
    [
        ("POST", "xhr"),
        ("POST", "xhr_streaming"),
        ("GET", "eventsource"),
        ("GET", "htmlfile?c=x"),
        ("GET", "jsonp?c=x"),
    ],
)
async def test_a_cookie_is_set_where_it_is_needed(
    client: Client, method: str, transport: str
) -> None:
    path = f"{new_session('/cookie_needed_echo')}/{transport}"
    response = await client.request(method, path)
    assert response.status == 200
    assert response["set-cookie"] == "JSESSIONID=dummy; path=/"


@pytest.mark.parametrize("cookie", ["JSESSIONID=abcdef", "a=b; JSESSIONID=abcdef; c=d"])
async def test_a_cookie_that_is_there_is_set_again(client: Client, cookie: str) -> None:
    url = new_session("/cookie_needed_echo")
    response = await client.post(f"{url}/xhr", Cookie=cookie)
    assert response["set-cookie"] == "JSESSIONID=abcdef; path=/"
    response = await client.post(f"{url}/xhr_send", '["x"]', Cookie=cookie)
    assert response["set-cookie"] == "JSESSIONID=abcdef; path=/"


async def test_no_cookie_is_set_where_none_is_needed(client: Client) -> None:
    response = await client.post(f"{new_session()}/xhr", Cookie="JSESSIONID=abcdef")
    assert response["set-cookie"] is None
