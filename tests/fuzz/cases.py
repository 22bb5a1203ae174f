"""What is sent to each endpoint: case ``index`` of ``seed`` is the same in every run."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal
from urllib.parse import quote

import orjson

from marketdata.framing import encode_frame
from marketdata.wire import market_data_pb2 as wire
from tests.fuzz.mutations import garbage, mutate, mutate_json, split, strange_value

ServiceName = Literal["ingest", "aggregator", "gateway"]


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes for one connection, or messages for one RPC."""

    endpoint: str
    service: ServiceName
    chunks: tuple[bytes, ...]
    # A gRPC method, whose messages the chunks are; without one they are the bytes of a connection.
    rpc: str = ""


SYMBOLS = ("AAPL", "MSFT", "BRK/B", "^GSPC", "EUR=X", "BTC-USD")
RPCS = (
    *(f"/marketdata.MarketDataService/{name}" for name in ("StreamTicks", "PublishTicks", "Watch")),
    *(f"/marketdata.MarketDataService/{name}" for name in ("GetAggregate", "GetAggregates")),
    *(f"/marketdata.MarketDataService/{name}" for name in ("StreamAggregates", "ListSymbols")),
    "/marketdata.MarketDataService/ReadAggregates",
    *("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
# The methods with many requests.
STREAMS = {"StreamTicks", "PublishTicks", "ReadAggregates", "Watch", "ServerReflectionInfo"}
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def make_case(seed: int, index: int) -> Case:
    """Return one case; endpoints take turns."""
    random = Random(f"{seed}:{index}")
    return MAKERS[index % len(MAKERS)](random)


# Ingest and aggregator


def _tick(random: Random) -> wire.Tick:
    return wire.Tick(
        symbol=random.choice((*SYMBOLS, " aapl ", "A" * 70, "", "X" + str(random.randrange(3000)))),
        price=random.choice((1.0, 150.25, 0.0, -1.0, 1e308, float("nan"), float("inf"), 5e-324)),
        volume=random.choice((1, 100, 0, -1, 2**63 - 1)),
        exchange_timestamp=random.choice((1735201234567, 1, 0, -1, 2**63 - 1, 1735201234567890123)),
    )


def _ingest(random: Random) -> Case:
    frames = [encode_frame(_tick(random).SerializeToString() or b"\x00") for _ in range(5)]
    if random.random() < 0.3:
        place = random.randrange(len(frames))
        payload = mutate(random, frames[place][4:])
        frames[place] = len(payload).to_bytes(4, "big") + payload
        return _connection(random, "ingest", "ingest", b"".join(frames))
    data = garbage(random) if random.random() < 0.15 else mutate(random, b"".join(frames))
    return _connection(random, "ingest", "ingest", data)


def _message(random: Random, rpc: str) -> bytes:
    symbol = random.choice((*SYMBOLS, "NIX", "a*", "", "A" * 70))
    name = rpc.rpartition("/")[2]
    message: Any
    match name:
        case "StreamTicks":
            message = _tick(random)
        case "PublishTicks":
            message = wire.TickBatch(
                producer_id=random.choice(("", "fuzz", "x" * 500)),
                first_sequence=random.choice((0, 1, 2, 2**63, 2**64 - 1)),
                ticks=[_tick(random) for _ in range(random.choice((0, 1, 3, 200)))],
            )
        case "Watch":
            message = wire.WatchRequest(
                add=[symbol],
                remove=[random.choice(SYMBOLS)],
                buffer=random.choice((0, 2**32 - 1)),
                buffer_all=random.choice((None, False, True)),
                add_buffered=[symbol] * random.choice((0, 1, 5000)),
                remove_buffered=[random.choice(SYMBOLS)],
            )
        case "GetAggregates":
            message = wire.AggregatesRequest(symbols=[symbol] * random.choice((0, 1, 500, 5000)))
        case "ReadAggregates":
            message = wire.ReadRequest(
                id=random.choice((0, 1, 2**64 - 1)),
                symbols=[symbol] * random.choice((0, 1, 500, 5000)),
            )
        case "ListSymbols":
            limit = random.choice((0, 1, 2**32 - 1))
            message = wire.ListSymbolsRequest(prefix=symbol[:3], limit=limit, cursor=symbol)
        case _:
            message = wire.AggregateRequest(symbol=symbol)
    data: bytes = message.SerializeToString()
    return data


def _grpc(random: Random) -> Case:
    rpc = random.choice(RPCS)
    name = rpc.rpartition("/")[2]
    many = name in STREAMS
    count = random.choice((1, 2, 5)) if many else 1
    messages = [_message(random, rpc) for _ in range(count)]
    if random.random() < 0.7:
        place = random.randrange(count)
        messages[place] = mutate(random, messages[place])
    if random.random() < 0.1:
        messages[-1] = garbage(random)
    if random.random() < 0.03:
        rpc = mutate(random, rpc.encode())[:200].decode(errors="ignore")
        rpc = "/" + "".join(letter for letter in rpc if "!" <= letter <= "~")
    return Case("grpc", "aggregator", tuple(messages), rpc)


def _http2(random: Random) -> Case:
    """Return HTTP/2 frames with anything in them, below gRPC."""
    frames = [b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"]
    for _ in range(random.randrange(6)):
        payload = garbage(random, 60)
        head = len(payload).to_bytes(3, "big") + bytes(
            (random.randrange(12), random.randrange(256))
        )
        frames.append(head + random.choice((0, 1, 3, 2**31)).to_bytes(4, "big") + payload)
    data = HTTP2_PREFACE + b"".join(frames)
    return _connection(random, "http2", "aggregator", mutate(random, data))


# HTTP


def _connection(random: Random, endpoint: str, service: ServiceName, *parts: bytes) -> Case:
    return Case(endpoint, service, tuple(piece for part in parts for piece in split(random, part)))


def request(
    target: bytes, method: bytes = b"GET", body: bytes = b"", *headers: bytes, close: bool = True
) -> bytes:
    """Return a request as bytes."""
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: fuzz", *headers]
    if body or method == b"POST":
        lines.append(b"Content-Length: %d" % len(body))
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _target(random: Random, path: str, query: dict[str, str] | None = None) -> bytes:
    """Return a path and query, most often with something wrong in a part of it."""
    parts = [path.encode()]
    for name, value in (query or {}).items():
        given = value.encode()
        if random.random() < 0.5:
            given = quote(mutate(random, given)[:6000], safe="*,").encode()
        parts.append(name.encode() + b"=" + given)
    target = parts[0] + (b"?" + b"&".join(parts[1:]) if parts[1:] else b"")
    return mutate(random, target) if random.random() < 0.3 else target


def _headers(random: Random) -> list[bytes]:
    known = (
        *(
            b"Accept: application/json",
            b"Origin: http://evil.example",
            b"Origin: null",
            b"Range: bytes=0-",
        ),
        *(
            b"Content-Type: application/json",
            b"Last-Event-ID: 7:AAPL=41,MSFT=7",
            b"Expect: 100-continue",
        ),
        *(
            b"X-Forwarded-For: 1.2.3.4",
            b"If-None-Match: *",
            b"Accept-Encoding: gzip",
            b"Cookie: a=b",
        ),
        *(
            b"Transfer-Encoding: chunked",
            b"Content-Length: 5",
            b"Referer: http://x/",
            b"Sec-Fetch-Site: x",
        ),
        b"Access-Control-Request-Method: POST",
    )
    headers = [random.choice(known) for _ in range(random.choice((0, 0, 1, 3)))]
    if random.random() < 0.15:
        headers.append(mutate(random, random.choice(known))[:100_000])
    return headers


def _method(random: Random) -> bytes:
    methods = (
        b"GET",
        b"GET",
        b"GET",
        b"GET",
        b"GET",
        b"HEAD",
        b"POST",
        b"OPTIONS",
        b"PUT",
        b"TRACE",
    )
    return random.choice((*methods, b"CONNECT", b"FOO"))


def _rest(random: Random) -> Case:
    symbol = random.choice(
        (*(quote(each, safe="") for each in SYMBOLS), "NIX", "a%20", "%F0%9F%92%A9")
    )
    path, query = random.choice(
        [
            (f"/api/v1/marketdata/{symbol}", None),
            ("/api/v1/marketdata", {"symbols": "AAPL,MSFT"}),
            ("/api/v1/symbols", {"prefix": "A", "limit": "10", "cursor": "AAPL"}),
            ("/health/ready", {"x": "1"}),
            ("/health/live", None),
            ("/openapi.json", None),
            ("/docs", None),
            ("/graphiql", None),
            ("/static/sockjs.min.js", None),
            ("/static/../app.py", None),
            ("/", None),
        ]
    )
    target = _target(random, path, query)
    body = random.choice((b"", b"", b"", garbage(random)))
    data = request(target, _method(random), body, *_headers(random))
    if random.random() < 0.25:
        data = mutate(random, data)
    if random.random() < 0.05:
        data = garbage(random)
    return _connection(random, "rest", "gateway", data)


def _sse(random: Random) -> Case:
    query = {"symbols": random.choice(("AAPL,MSFT", "*", "BRK/B")), "policy": "buffer"}
    identifier = mutate(random, b"1795396922047571852:AAPL=1,MSFT=1")[:70_000]
    headers = [b"Last-Event-ID: " + identifier.translate(None, b"\r\n"), *_headers(random)]
    data = request(_target(random, "/api/v1/stream", query), b"GET", b"", *headers)
    return _connection(random, "sse", "gateway", data)


QUERIES = (
    '{ marketData(symbol: "AAPL") { symbol open close volume timestamp } }',
    "query Q($s: [String!]!) { marketDataList(symbols: $s) { symbol ...F } } "
    "fragment F on Aggregate { close }",
    '{ symbols(prefix: "A", limit: 3, cursor: "") { symbols nextCursor } }',
    "{ __schema { types { name fields { name type { name ofType { name } } } } } }",
    'subscription { marketData(symbols: ["AAPL"], policy: BUFFER) { symbol close } }',
    '{ a: marketData(symbol: "A") @include(if: true) { close } '
    'b: marketData(symbol: "\\u0000") { high } }',
    "fragment A on Query { ...B } fragment B on Query { ...A } { ...A }",
)


def _operation(random: Random) -> dict[str, Any]:
    query: Any = random.choice(QUERIES)
    if random.random() < 0.5:
        query = mutate(random, query.encode())[:70_000].decode(errors="replace")
    return {
        "query": query,
        "variables": random.choice(({"s": ["AAPL", "NIX"]}, None, {"s": strange_value(random)})),
        "operationName": random.choice((None, "Q", "X", "")),
    }


def _graphql(random: Random) -> Case:
    accept = random.choice((b"application/graphql-response+json", b"*/*", b"text/html", b"a/b;q=x"))
    kind = random.choice(
        (b"application/json",) * 4 + (b"application/json; charset=utf-16", b"text/plain")
    )
    headers = [b"Accept: " + accept, b"Content-Type: " + kind]
    if random.random() < 0.2:
        operation = _operation(random)
        query = {"query": str(operation["query"])[:5000], "variables": "{}", "operationName": "Q"}
        data = request(_target(random, "/graphql", {k: quote(v) for k, v in query.items()}), b"GET")
    else:
        body = mutate_json(random, _operation(random))
        if random.random() < 0.1:
            body = garbage(random)
        data = request(b"/graphql", b"POST", body, *headers)
    return _connection(random, "graphql", "gateway", data)


# WebSocket


def handshake(random: Random, target: bytes, *protocols: bytes) -> bytes:
    """Return a WebSocket handshake."""
    lines = [
        *(
            b"GET " + target + b" HTTP/1.1",
            b"Host: fuzz",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
        ),
        b"Sec-WebSocket-Key: " + base64.b64encode(random.randbytes(16)),
        b"Sec-WebSocket-Version: 13",
    ]
    if protocols:
        lines.append(b"Sec-WebSocket-Protocol: " + b", ".join(protocols))
    data = b"\r\n".join(lines) + b"\r\n\r\n"
    return mutate(random, data) if random.random() < 0.05 else data


def frame(
    random: Random, payload: bytes, opcode: int = 1, *, first: int = 0x80, masked: bool = True
) -> bytes:
    """Return one WebSocket frame; ``first`` holds FIN and the reserved bits."""
    size, mask_bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes((first | opcode, mask_bit | size))
    elif size < 65536:
        head = bytes((first | opcode, mask_bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first | opcode, mask_bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    key = random.randbytes(4)
    stream = (key * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return head + key + mixed.to_bytes(size, "big")


def frames(random: Random, messages: Sequence[bytes]) -> list[bytes]:
    """Return the messages as frames, now and then fragmented, and a close at the end."""
    result = []
    for message in messages:
        opcode = 2 if random.random() < 0.05 else 1
        if random.random() < 0.1:
            a = random.randint(0, len(message))
            result.append(frame(random, message[:a], opcode, first=0))
            if random.random() < 0.5:
                result.append(frame(random, b"ping", 9))
            result.append(frame(random, message[a:], 0))
        else:
            result.append(frame(random, message, opcode))
    if random.random() < 0.8:
        result.append(frame(random, b"\x03\xe8", 8))
    return result


def _websocket(
    random: Random, endpoint: str, target: bytes, messages: Sequence[bytes], *protocols: bytes
) -> Case:
    return Case(
        endpoint, "gateway", (handshake(random, target, *protocols), *frames(random, messages))
    )


def _raw_frames(random: Random) -> Case:
    """Return frames that break RFC 6455."""
    target = random.choice(
        (b"/ws", b"/ws/websocket", b"/ws/marketdata", b"/api/v1/stream", b"/graphql")
    )
    target = random.choice((target, b"/ws/0/f%d/websocket" % random.randrange(10**9)))
    protocols = [b"graphql-transport-ws"] if target == b"/graphql" else []
    sent = [handshake(random, target, *protocols)]
    for _ in range(random.randint(1, 5)):
        payload = garbage(random, random.choice((10, 200, 70_000)))
        match random.randrange(8):
            case 0:
                sent.append(
                    frame(random, payload, random.randrange(16), first=random.randrange(16) << 4)
                )
            case 1:
                sent.append(frame(random, payload, 1, masked=False))
            case 2:
                sent.append(
                    bytes((0x81, 0xFF))
                    + random.choice((2**63, 2**64 - 1, 2**40)).to_bytes(8, "big")
                )
            case 3:
                code = random.choice(
                    (0, 999, 1000, 1004, 1005, 1006, 1015, 1016, 2999, 3000, 4999, 65535)
                )
                sent.append(frame(random, code.to_bytes(2, "big") + payload[:100], 8))
            case 4:
                sent.append(frame(random, payload, random.choice((8, 9, 10))))
            case 5:
                sent.append(frame(random, payload, 0, first=random.choice((0, 0x80))))
            case 6:
                sent.append(garbage(random))
            case _:
                sent.append(mutate(random, frame(random, payload, random.choice((1, 2)))))
    return Case("frames", "gateway", tuple(sent))


def _upgrade(random: Random) -> Case:
    """Return a handshake that is wrong in its own lines."""
    data = handshake(
        random, random.choice((b"/ws", b"/api/v1/stream", b"/graphql", b"/ws/marketdata", b"/nix"))
    )
    return _connection(random, "upgrade", "gateway", mutate(random, data))


def _plain(random: Random) -> Case:
    target = _target(random, "/ws/marketdata", {"symbol": random.choice(SYMBOLS)})
    return _websocket(random, "plain", target, [garbage(random)])


def _stream_messages(random: Random) -> list[bytes]:
    resume = {"epoch": "7", "sequences": {"AAPL": "41"}}
    subscribe = {"type": "subscribe", "id": "1", "symbols": ["AAPL", "*"], "policy": "buffer"}
    messages = [subscribe, {**subscribe, "id": "2", "resume": resume}, {"type": "ping"}]
    messages.append({"type": "unsubscribe", "id": "1"})
    return _some_wrong(random, messages)


def _some_wrong(random: Random, messages: list[Any]) -> list[bytes]:
    if random.random() < 0.2:
        random.shuffle(messages)
    bad = random.randrange(len(messages))
    return [
        mutate_json(random, each) if place == bad else orjson.dumps(each)
        for place, each in enumerate(messages)
    ]


def _stream(random: Random) -> Case:
    target = b"/api/v1/stream"
    if random.random() < 0.3:
        target = _target(random, "/api/v1/stream", {"symbols": "AAPL,MSFT", "policy": "conflate"})
    return _websocket(random, "stream", target, _stream_messages(random))


def _graphql_ws(random: Random) -> Case:
    messages: list[dict[str, Any]] = [
        {"type": "connection_init", "payload": {}},
        {"type": "subscribe", "id": "1", "payload": {"query": QUERIES[4]}},
        {"type": "ping", "payload": {"a": 1}},
        {"type": "subscribe", "id": "2", "payload": _operation(random)},
        {"type": "pong"},
        {"type": "complete", "id": "1"},
    ]
    sent = _some_wrong(random, messages)
    return _websocket(random, "graphql-ws", b"/graphql", sent, b"graphql-transport-ws")


# STOMP and SockJS


def _signal(random: Random) -> bytes:
    message = {
        "type": "OFFER",
        "senderId": "a",
        "targetId": None,
        "sdp": "v=0\r\n",
        "candidate": None,
    }
    return mutate_json(random, message) if random.random() < 0.8 else orjson.dumps(message)


def stomp_frame(command: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a STOMP frame."""
    lines = [f"{name.replace('_', '-')}:{value}" for name, value in headers.items()]
    return "\n".join([command, *lines]).encode() + b"\n\n" + body + b"\x00"


def _stomp_frames(random: Random) -> list[bytes]:
    topic = "/topic/market-data/"
    connect = stomp_frame(
        "CONNECT", accept_version=random.choice(("1.2", "1.1", "1.0", "1.0,1.1,1.2"))
    )
    rest = [
        stomp_frame(
            "SUBSCRIBE", id="1", destination=topic + random.choice(("AAPL", "AAPL,MSFT", "*"))
        ),
        stomp_frame("SUBSCRIBE", id="s", destination="/topic/signaling", receipt="r"),
        stomp_frame(
            "SUBSCRIBE",
            id="2",
            destination=topic + "AAPL",
            policy="buffer",
            epoch="7",
            last_sequence="41",
        ),
        stomp_frame(
            "SEND", _signal(random), destination="/app/signal", content_type="application/json"
        ),
        stomp_frame("BEGIN", transaction="t"),
        stomp_frame("SEND", _signal(random), destination="/app/signal", transaction="t"),
        stomp_frame(random.choice(("COMMIT", "ABORT")), transaction="t"),
        stomp_frame("SEND", b"{}", destination="/topic/market-data/AAPL"),
        stomp_frame(random.choice(("ACK", "NACK")), id="x", message_id="x", subscription="1"),
        stomp_frame("UNSUBSCRIBE", id="1", receipt="3"),
        stomp_frame("DISCONNECT", receipt="4"),
        b"\n\n\r\n",
    ]
    kept = rest[:2] + random.sample(rest, random.randrange(len(rest)))
    bad = random.randrange(len(kept))
    sent = [
        connect,
        *(mutate(random, each) if place == bad else each for place, each in enumerate(kept)),
    ]
    if random.random() < 0.15:
        random.shuffle(sent)
    if random.random() < 0.05:
        sent = [mutate(random, connect)]
    if random.random() < 0.03:
        sent.append(garbage(random))
    return sent


def _stomp(random: Random) -> Case:
    target = random.choice((b"/ws", b"/ws/websocket"))
    protocols = [b"v12.stomp"] if random.random() < 0.5 else []
    return _websocket(random, "stomp", target, _stomp_frames(random), *protocols)


def _signaling(random: Random) -> Case:
    sent = [stomp_frame("CONNECT", accept_version="1.2")]
    sent += [stomp_frame("SUBSCRIBE", id="s", destination="/topic/signaling")]
    for _ in range(random.choice((1, 3, 30))):
        headers = {"destination": "/app/signal", "content_type": "application/json", "a": "b\\n"}
        sent.append(stomp_frame("SEND", _signal(random), **headers))
    return _websocket(random, "signaling", b"/ws", sent)


def _session(random: Random) -> bytes:
    return b"/ws/%03d/f%d" % (random.randrange(1000), random.randrange(10**9))


def _sockjs_websocket(random: Random) -> Case:
    sent = []
    for each in _stomp_frames(random):
        message = orjson.dumps([each.decode(errors="replace")])
        sent.append(mutate(random, message) if random.random() < 0.2 else message)
    return _websocket(random, "sockjs-websocket", _session(random) + b"/websocket", sent)


def _sockjs_http(random: Random) -> Case:
    """Return a session over polls and posts, in one connection."""
    session = _session(random)
    jsonp = random.random() < 0.3
    poll = session + (b"/jsonp?c=cb" if jsonp else b"/xhr")
    method = b"GET" if jsonp else b"POST"
    parts = [request(poll, method, close=False)]
    for each in _stomp_frames(random)[:4]:
        body = orjson.dumps([each.decode(errors="replace")])
        if random.random() < 0.4:
            body = mutate(random, body)
        if jsonp:
            if random.random() < 0.7:
                body = b"d=" + quote(body).encode()
            kind = random.choice((b"application/x-www-form-urlencoded", b"text/plain"))
            header = b"Content-Type: " + kind
            parts.append(request(session + b"/jsonp_send", b"POST", body, header, close=False))
        else:
            parts.append(request(session + b"/xhr_send", b"POST", body, close=False))
    parts.append(request(poll, method))
    return Case("sockjs-http", "gateway", tuple(parts))


def _sockjs_urls(random: Random) -> Case:
    transport = random.choice(
        (
            "xhr",
            "xhr_streaming",
            "eventsource",
            "htmlfile?c=cb",
            "jsonp?c=cb",
            "xhr_send",
            "jsonp_send",
        )
    )
    path = random.choice(
        ("/ws", "/ws/", "/ws/info", "/ws/iframe.html", "/ws/iframe-1.html?t=1", "/ws/websocket")
        + (_session(random).decode() + "/" + transport,) * 6
    ).encode()
    if random.random() < 0.7:
        path = mutate(random, path)
    data = request(path, _method(random), garbage(random, 30), *_headers(random))
    return _connection(random, "sockjs-urls", "gateway", data)


MAKERS: tuple[Callable[[Random], Case], ...] = (
    *(_ingest, _grpc, _http2, _rest, _sse, _graphql, _graphql_ws, _stream, _plain, _stomp),
    *(
        _signaling,
        _raw_frames,
        _upgrade,
        _sockjs_websocket,
        _sockjs_http,
        _sockjs_urls,
        _rest,
        _stomp,
    ),
)
