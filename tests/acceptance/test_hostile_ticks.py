"""A million ticks, a tenth of them bad in every way: exact totals, exact counts, flat memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import inf
from random import Random

import httpx
import psutil
import pytest

from fakeclient.bad import BadKind, BadMix
from fakeclient.walk import RandomWalk, choose_symbols
from marketdata.validation import RejectReason
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import open_stub
from tests.doubles.processes import Service, run_gateway, run_service
from tests.integration.fakeclient.recorder import Fakeclient, started

TICKS = 1_000_000
BAD_FRACTION = 0.1
SEED = 7
SYMBOLS = choose_symbols("500")
# About 10 s here, most of it 9,090 reconnects, each after the server has closed.
TIMEOUT_S = 60.0

# What a process may have grown by between the first fifth of the ticks and the last: a few batches
# of 450 KB are on their way at any time. Holding on to the ticks, at 60 bytes, would be 48 MB.
MAX_GROWTH_BYTES = 16 * 1024 * 1024

REASONS = {
    BadKind.UNPARSABLE: RejectReason.MALFORMED,
    BadKind.INVALID_UTF8: RejectReason.MALFORMED,
    BadKind.NAN_PRICE: RejectReason.PRICE_NOT_FINITE,
    BadKind.INFINITE_PRICE: RejectReason.PRICE_NOT_FINITE,
    BadKind.NEGATIVE_PRICE: RejectReason.PRICE_NOT_POSITIVE,
    BadKind.ZERO_VOLUME: RejectReason.VOLUME_NOT_POSITIVE,
    BadKind.EMPTY_SYMBOL: RejectReason.EMPTY_SYMBOL,
    BadKind.LONG_SYMBOL: RejectReason.SYMBOL_TOO_LONG,
    BadKind.FUTURE_TIMESTAMP: RejectReason.TIMESTAMP_IN_FUTURE,
    BadKind.ZERO_TIMESTAMP: RejectReason.TIMESTAMP_NOT_POSITIVE,
}


@dataclass
class Expected:
    """What the good ticks of one symbol come to."""

    open: float = 0.0
    high: float = 0.0
    low: float = inf
    close: float = 0.0
    volume: int = 0
    trades: int = 0
    # Prices are whole cents, so this is exact.
    notional_cents: int = 0

    def add(self, price: float, volume: int) -> None:
        self.open = self.open or price
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price
        self.volume += volume
        self.trades += 1
        self.notional_cents += round(price * 100) * volume

    @property
    def vwap(self) -> float:
        return self.notional_cents / self.volume / 100


def what_is_sent() -> tuple[dict[str, Expected], Counter[BadKind]]:
    """Make the fakeclient's ticks once more, and sum up the good and count the bad."""
    walk, mix = RandomWalk(SYMBOLS, Random(SEED)), BadMix(BAD_FRACTION)
    good = {symbol: Expected() for symbol in SYMBOLS}
    bad: Counter[BadKind] = Counter()
    for _ in range(TICKS // 10_000):
        for symbol, price, volume, _ts_ns in walk.take(10_000, now_ns=1):
            kind = mix.next_kind()
            if kind is None:
                good[symbol].add(price, volume)
            else:
                bad[kind] += 1
    return good, bad


async def test_a_million_ticks_with_a_tenth_of_them_bad() -> None:
    good, bad = what_is_sent()
    assert sum(bad.values()) == TICKS // 10
    assert bad.keys() == set(BadKind)
    async with (
        run_service(
            "aggregator",
            {
                "AGGREGATOR_PORT": "0",
                # Midnight must not end the session of a test.
                "AGGREGATOR_SESSION": "none",
                # Bars that late ticks may revise fill the memory up to here, and soon.
                "AGGREGATOR_MAX_CLOSED_BARS": "500",
            },
        ) as aggregator,
        run_gateway(port := await aggregator.wait_for_port()) as (_, http),
        run_service(
            "ingest", {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
        ) as ingest,
        started(
            *("--server", f"127.0.0.1:{await ingest.wait_for_port()}"),
            *("--symbols", len(SYMBOLS), "--seed", SEED, "--rate", "max"),
            *("--limit", TICKS, "--bad-fraction", BAD_FRACTION),
        ) as program,
    ):
        await sent(program, TICKS // 5)
        early = {service: resident_bytes(service) for service in (ingest, aggregator)}
        result = await program.end(TIMEOUT_S)
        grown = {service: resident_bytes(service) - before for service, before in early.items()}
        assert (result.code, result.sent, result.errors) == (0, TICKS, "")
        assert result.lines[-1] == f"bad {TICKS // 10:,} of them: " + " ".join(
            f"{kind}={bad[kind]}" for kind in BadKind
        )

        assert await ingest.stop() == 0
        await assert_totals_in_rest(http, good)
        await assert_totals_in_grpc(port, good)
        assert await aggregator.stop() == 0

    stopped = ingest.logs[-1]
    assert stopped["accepted"] == aggregator.logs[-1]["accepted"] == TICKS - TICKS // 10
    assert stopped["rejected"] == rejections(bad)
    assert stopped["closed"] == {"empty_frame": bad[BadKind.EMPTY_PAYLOAD]}
    assert stopped["lost"] == 0
    assert aggregator.logs[-1]["rejected"] == {}
    assert max(grown.values()) < MAX_GROWTH_BYTES, grown


def rejections(bad: Counter[BadKind]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for kind, reason in REASONS.items():
        counts[reason.value] += bad[kind]
    return counts


async def sent(program: Fakeclient, ticks: int) -> None:
    """Wait until the fakeclient says that it has sent so many."""
    while True:
        line = await program.line_with("sent ")
        if int(line.split()[1].replace(",", "")) >= ticks:
            return


def resident_bytes(service: Service) -> int:
    rss: int = psutil.Process(service.process.pid).memory_info().rss
    return rss


async def assert_totals_in_rest(http: httpx.AsyncClient, good: dict[str, Expected]) -> None:
    answer = await http.get(f"/api/v1/marketdata?symbols={','.join(good)}")
    assert answer.headers["x-data-status"] == "live"
    body = answer.json()
    assert body["unknown"] == []
    assert [each["symbol"] for each in body["aggregates"]] == list(good)
    for each in body["aggregates"]:
        expected = good[each["symbol"]]
        assert (each["volume"], each["trades"]) == (str(expected.volume), str(expected.trades))
        assert each["close"] == expected.close


async def assert_totals_in_grpc(port: int, good: dict[str, Expected]) -> None:
    async with open_stub(port) as stub:
        answer = await stub.GetAggregates(wire.AggregatesRequest(symbols=list(good)))
    assert [each.symbol for each in answer.aggregates] == list(good)
    for each in answer.aggregates:
        expected = good[each.symbol]
        assert (each.open, each.high, each.low, each.close, each.volume, each.trades) == (
            *(expected.open, expected.high, expected.low, expected.close),
            *(expected.volume, expected.trades),
        )
        assert each.vwap == pytest.approx(expected.vwap, rel=1e-12, abs=0)
