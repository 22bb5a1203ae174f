"""History over REST: pages, forms, and errors that say what to do."""

from __future__ import annotations

import csv
import io
import sys
import urllib.parse
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import polars as pl
import pytest

from gateway.encoding import BAR_KEYS, bar_to_dict
from gateway.rest.schemas import BarsBody
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.bar_book import FINAL, PARTIAL, REVISED
from tests.integration.gateway.doubles import FakeAggregator, http_to_gateway
from tests.integration.gateway.test_rest import problem, wrong_fields

MINUTE = 60 * 10**9
# 2024-12-26T08:20:00Z
START = 1_735_201_200 * 10**9
URL = "/api/v1/marketdata/AAPL/bars"
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
async def http(aggregator: FakeAggregator) -> AsyncIterator[httpx.AsyncClient]:
    async with http_to_gateway(aggregator) as http:
        yield http


def fill_minutes(aggregator: FakeAggregator, count: int, **fields: Any) -> None:
    for minute in range(count):
        start = START + minute * MINUTE
        prices = {"open": 150.25, "high": 152.1, "low": 149.8, "close": 151.5, "vwap": 150.98}
        values: dict[str, Any] = {"volume": 2**60 + minute, "trades": 4711, "state": FINAL}
        aggregator.publish_bar("AAPL", "1m", start, **{**prices, **values, **fields})


async def ask(http: httpx.AsyncClient, accept: str = "", **parameters: Any) -> httpx.Response:
    headers = {"Accept": accept} if accept else {}
    return await http.get(URL, params={"interval": "1m", **parameters}, headers=headers)


async def test_a_bar_is_answered_in_exactly_the_documented_json(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    fill_minutes(aggregator, 1, phase="regular")
    response = await ask(http)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["vary"] == "Accept"
    assert response.content == (
        b'{"symbol":"AAPL","interval":"1m","bars":[{"symbol":"AAPL","interval":"1m",'
        b'"start":"1735201200000","end":"1735201260000","startNs":"1735201200000000000",'
        b'"endNs":"1735201260000000000","open":150.25,"high":152.1,"low":149.8,"close":151.5,'
        b'"volume":"1152921504606846976","trades":"4711","vwap":150.98,"state":"final",'
        b'"revision":0,"complete":true,"coverage":"full","refused":"0","filler":null,"phase":"regular",'
        b'"number":0,"sequence":"1","epoch":"7"}],"nextCursor":null}'
    )
    BarsBody.model_validate_json(response.content, strict=True)


async def test_a_range_is_half_open_in_every_spelling_of_time(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    fill_minutes(aggregator, 5)
    low, high = START + MINUTE, START + 3 * MINUTE
    for start, end in [
        (str(low), str(high)),
        (str(low // 10**6), str(high // 10**6)),
        ("2024-12-26T08:21:00Z", "2024-12-26T09:23:00+01:00"),
    ]:
        page = (await ask(http, **{"from": start, "to": end})).json()
        assert [bar["startNs"] for bar in page["bars"]] == [str(low), str(low + MINUTE)]


async def test_without_from_the_last_ones_come(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    fill_minutes(aggregator, 5)
    page = (await ask(http, limit=2)).json()
    assert [bar["startNs"] for bar in page["bars"]] == [
        str(START + 3 * MINUTE),
        str(START + 4 * MINUTE),
    ]


async def test_pages_go_on_where_the_one_before_ended_while_bars_are_revised(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    fill_minutes(aggregator, 5)
    first = await ask(http, limit=2, **{"from": "0"})
    cursor = first.json()["nextCursor"]
    assert first.headers["x-next-cursor"] == cursor
    aggregator.publish_bar("AAPL", "1m", START, state=REVISED, revision=1)
    seen = [bar["startNs"] for bar in first.json()["bars"]]
    while cursor:
        page = (await ask(http, limit=2, cursor=cursor, **{"from": "0"})).json()
        seen += [bar["startNs"] for bar in page["bars"]]
        cursor = page["nextCursor"]
    assert seen == [str(START + minute * MINUTE) for minute in range(5)]


async def test_the_open_bar_comes_only_when_asked_for(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    fill_minutes(aggregator, 1)
    aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=PARTIAL)
    assert len((await ask(http)).json()["bars"]) == 1
    bars = (await ask(http, include_partial="true")).json()["bars"]
    assert [bar["state"] for bar in bars] == ["final", "partial"]


async def test_fillers_are_marked_and_have_prices_only_if_wanted(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    for minute in (0, 2):
        aggregator.publish_bar("AAPL", "1m", START + minute * MINUTE, state=FINAL, close=5.0)
    assert len((await ask(http)).json()["bars"]) == 2
    filled = (await ask(http, fill="prev")).json()["bars"]
    assert [bar["filler"] for bar in filled] == [None, "no_trades", None]
    assert [filled[1][each] for each in ("open", "close", "volume", "vwap")] == [5, 5, "0", None]
    empty = (await ask(http, fill="null")).json()["bars"][1]
    assert [empty[each] for each in ("open", "high", "low", "close", "vwap")] == [None] * 5
    BarsBody.model_validate((await ask(http, fill="null")).json(), strict=True)


@pytest.mark.parametrize("interval", ["3d", "1w", "1M", "3M", "1y"])
async def test_bars_of_weeks_months_and_years_are_read_like_others(
    aggregator: FakeAggregator, http: httpx.AsyncClient, interval: str
) -> None:
    aggregator.bars.intervals += (interval,)
    bar = aggregator.publish_bar("AAPL", interval, START, state=FINAL)
    body = (await ask(http, interval=interval)).json()
    assert (body["interval"], body["bars"]) == (interval, [bar_to_dict(bar)])


@pytest.mark.parametrize(
    ("parameters", "fields", "says"),
    [
        ({"interval": "7m"}, ["interval"], "1s 1m 5m 15m 1h 1d"),
        ({"interval": "15m"}, ["interval"], "'15m' is not one of 1s 1m 5m 1d"),
        ({"from": "1735201200"}, ["from"], "looks like seconds"),
        ({"to": "tomorrow"}, ["to"], "ISO 8601"),
        ({"from": "1735201200000", "to": "1735201200000"}, ["from"], "is not before to"),
        ({"limit": "10001"}, ["limit"], "10000"),
        ({"limit": "0"}, ["limit"], "greater than or equal to 1"),
        ({"fill": "zero"}, ["fill"], "'none', 'prev' or 'null'"),
        ({"cursor": "nonsense"}, ["cursor"], "none of ours"),
    ],
)
async def test_what_cannot_be_used_is_named(
    http: httpx.AsyncClient, parameters: dict[str, str], fields: list[str], says: str
) -> None:
    body = problem(await ask(http, **parameters), 422, "invalid-input")
    assert wrong_fields(body) == fields
    assert says in str(body["detail"])


async def test_an_interval_must_be_said(http: httpx.AsyncClient) -> None:
    body = problem(await http.get(URL), 422, "invalid-input")
    assert wrong_fields(body) == ["interval"]


async def test_a_symbol_without_bars_has_none_and_one_nobody_knows_is_not_found(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    problem(await ask(http), 404, "unknown-symbol")
    aggregator.set("AAPL", close=1.0)
    response = await ask(http)
    assert response.json() == {
        "symbol": "AAPL",
        "interval": "1m",
        "bars": [],
        "nextCursor": None,
    }


async def test_a_slash_in_a_symbol_stays_in_it(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    aggregator.publish_bar("BRK/B", "1m", START, state=FINAL)
    response = await http.get("/api/v1/marketdata/BRK%2FB/bars?interval=1m")
    assert response.json()["bars"][0]["symbol"] == "BRK/B"


@pytest.mark.parametrize("symbol", ["BRK/B", "AAPL  251219C00150000", "#VIX", "A%2FB", "A?B&C=D+E"])
async def test_a_symbol_in_the_query_survives_any_proxy(
    aggregator: FakeAggregator, http: httpx.AsyncClient, symbol: str
) -> None:
    aggregator.publish_bar(symbol, "1m", START, state=FINAL)
    parameters = {"symbol": symbol, "interval": "1m"}
    response = await http.get("/api/v1/bars", params=parameters)
    assert response.json()["bars"][0]["symbol"] == symbol
    quoted = urllib.parse.quote(symbol, safe="")
    in_path = await http.get(f"/api/v1/marketdata/{quoted}/bars?interval=1m")
    assert in_path.content == response.content
    table = await http.get("/api/v1/bars", params=parameters, headers={"Accept": "text/csv"})
    header, row = csv.reader(io.StringIO(table.text))
    assert dict(zip(header, row, strict=True))["symbol"] == symbol


async def test_the_address_with_the_symbol_in_the_query_gives_the_same_errors(
    http: httpx.AsyncClient,
) -> None:
    problem(await http.get("/api/v1/bars?symbol=NIX&interval=1m"), 404, "unknown-symbol")
    body = problem(await http.get("/api/v1/bars?symbol=*&interval=1m"), 422, "invalid-input")
    assert wrong_fields(body) == ["symbol"]
    body = problem(await http.get("/api/v1/bars?interval=1m"), 422, "invalid-input")
    assert wrong_fields(body) == ["symbol"]


async def test_no_bars_are_invented_while_the_aggregator_is_away(
    aggregator: FakeAggregator,
) -> None:
    async with http_to_gateway(aggregator, retry_wait_s=0, fallback="last") as http:
        aggregator.fail(grpc.StatusCode.UNAVAILABLE)
        response = await ask(http)
        problem(response, 503, "aggregator-unavailable")
        assert int(response.headers["retry-after"]) >= 1


async def test_questions_about_bars_count_for_the_rate_limit_once(
    aggregator: FakeAggregator,
) -> None:
    aggregator.set("AAPL", close=1.0)
    async with http_to_gateway(aggregator, rate_limit=2) as http:
        assert (await ask(http)).status_code == 200
        assert (await ask(http)).status_code == 200
        problem(await ask(http), 429, "rate-limited")


async def test_csv_is_that_of_rfc_4180(aggregator: FakeAggregator, http: httpx.AsyncClient) -> None:
    fill_minutes(aggregator, 3)
    json_page = (await ask(http, limit=2, **{"from": "0"})).json()
    response = await ask(http, "text/csv", limit=2, **{"from": "0"})
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert response.headers["x-next-cursor"] == json_page["nextCursor"]
    lines = response.text.split("\r\n")
    assert lines[0] == ",".join(BAR_KEYS)
    assert lines[-1] == ""
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    for row, bar in zip(rows, json_page["bars"], strict=True):
        assert row == {
            name: "" if value is None else str(value).lower() if value is True else str(value)
            for name, value in bar.items()
        }


async def test_polars_reads_the_csv(aggregator: FakeAggregator, http: httpx.AsyncClient) -> None:
    fill_minutes(aggregator, 1200)
    response = await ask(http, "text/csv", limit=1200)
    frame = pl.read_csv(response.content)
    assert frame["startNs"].to_list() == [START + minute * MINUTE for minute in range(1200)]
    assert frame["volume"].to_list() == [2**60 + minute for minute in range(1200)]
    assert frame["complete"].dtype == pl.Boolean
    assert set(frame["high"]) == {152.1}


async def test_polars_reads_the_arrow_stream(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    fill_minutes(aggregator, 1200)
    aggregator.publish_bar("AAPL", "1m", START + 1300 * MINUTE, state=REVISED, revision=2)
    response = await ask(http, ARROW, limit=2000, fill="null", **{"from": "0"})
    assert response.headers["content-type"] == ARROW
    frame = pl.read_ipc_stream(response.content)
    assert tuple(frame.columns) == tuple(c for c in BAR_KEYS if not c.endswith("Ns"))
    assert frame.schema["start"] == pl.Datetime("ns", "UTC")
    assert frame["start"].cast(pl.Int64).to_list() == [
        START + minute * MINUTE for minute in range(1301)
    ]
    assert frame["volume"].to_list()[:1200] == [2**60 + minute for minute in range(1200)]
    assert frame["close"].to_list()[1199:1202] == [151.5, None, None]
    assert frame["filler"].to_list()[-2:] == ["no_trades", None]
    assert frame["revision"].to_list()[-1] == 2
    assert frame.schema["volume"] == pl.Decimal(38, 18)
    assert frame.schema["sequence"] == pl.UInt64


async def test_an_empty_page_has_its_columns_in_every_form(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    aggregator.set("AAPL", close=1.0)
    frame = pl.read_ipc_stream((await ask(http, ARROW)).content)
    assert frame.schema["close"] == pl.Float64
    assert (await ask(http, "text/csv")).text == ",".join(BAR_KEYS) + "\r\n"


async def test_a_form_there_is_not_is_refused_with_those_there_are(
    http: httpx.AsyncClient,
) -> None:
    body = problem(await ask(http, "text/html"), 406, "not-acceptable")
    assert "only application/json, text/csv, application/vnd.apache.arrow.stream" in str(
        body["detail"]
    )


async def test_without_pyarrow_the_refusal_says_what_to_install(
    aggregator: FakeAggregator, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_minutes(aggregator, 1)
    for name in ("pyarrow", "pyarrow.ipc"):
        monkeypatch.setitem(sys.modules, name, None)
    body = problem(await ask(http, ARROW), 406, "not-acceptable")
    assert "market-data-server[arrow]" in str(body["detail"])


async def test_ten_thousand_bars_are_one_page(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    fill_minutes(aggregator, 10_001)
    page = (await ask(http, limit=10_000, **{"from": "0"})).json()
    assert len(page["bars"]) == 10_000
    assert page["nextCursor"]


async def test_the_status_says_how_everything_is(
    aggregator: FakeAggregator, http: httpx.AsyncClient
) -> None:
    aggregator.status.MergeFrom(
        wire.StatusResponse(
            symbols=3,
            accepted=2**60,
            rejected={"total_overflow": 2},
            feeds=[
                wire.FeedStatus(
                    producer_id="ingest-1",
                    connected=True,
                    report=wire.FeedReport(producers=2, accepted=9, rejected={"malformed": 1}),
                    reported_at=START,
                ),
                wire.FeedStatus(producer_id="ingest-2"),
            ],
            store=wire.StoreStatus(state="ok", waiting=1, max_waiting=200_000, written=7),
            log=wire.LogStatus(
                state="failing", problem="no disk", next_offset=9, checkpoint_time=START
            ),
        )
    )
    await aggregator.attempts(0)
    body = (await http.get("/api/v1/status")).json()
    assert body["aggregator"] == {
        "status": "ok",
        "epoch": "7",
        "symbols": 3,
        "accepted": str(2**60),
        "duplicates": "0",
        "late": "0",
        "barsLate": "0",
        "rejected": {"total_overflow": "2"},
        "intervals": ["1s", "1m", "5m", "1d"],
        "feeds": [
            {
                "producerId": "ingest-1",
                "connected": True,
                "producers": 2,
                "accepted": "9",
                "rejected": {"malformed": "1"},
                "reportedAt": "1735201200000",
            },
            {
                "producerId": "ingest-2",
                "connected": False,
                "producers": None,
                "accepted": None,
                "rejected": None,
                "reportedAt": None,
            },
        ],
        "store": {
            "state": "ok",
            "problem": None,
            "waiting": "1",
            "maxWaiting": "200000",
            "written": "7",
            "lost": "0",
        },
        "log": {
            "state": "failing",
            "problem": "no disk",
            "firstOffset": "0",
            "nextOffset": "9",
            "waitingBytes": "0",
            "unsyncedBytes": "0",
            "checkpointOffset": "0",
            "checkpointTime": "1735201200000",
        },
    }
    gateway = body["gateway"]
    assert gateway["breaker"] == "closed"
    assert (gateway["clients"], gateway["subscriptions"], gateway["conflated"]) == (0, 0, "0")


async def test_the_status_is_there_while_the_aggregator_is_not(
    aggregator: FakeAggregator,
) -> None:
    async with http_to_gateway(aggregator, rate_limit=1, retry_wait_s=0) as http:
        await aggregator.go_down()
        for _ in range(5):
            await http.get("/api/v1/marketdata/AAPL")
        body = (await http.get("/api/v1/status")).json()
        assert body["status"] == "degraded"
        assert body["aggregator"] == {"status": "UNAVAILABLE"}
        assert body["gateway"]["feed"] == "stale"
