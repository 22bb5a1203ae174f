"""The replay of a file, as a server sees it."""

from __future__ import annotations

import gzip
from collections import defaultdict
from pathlib import Path

import pytest

from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.trades import REAL_TRADES, needs_real_trades
from tests.integration.fakeclient.recorder import Result, fakeclient, recorder

START_NS = 1_381_132_800_000_000_000
MAX = ("--speed", "max")


def row(symbol: str, price: float, volume: int, ms: int) -> Tick:
    ts_ns = START_NS + ms * 1_000_000
    return Tick(symbol=symbol, price=price, volume=volume, exchange_timestamp=ts_ns)


TICKS = [row("SPY", 167.41, 100, 0), row("BAC", 13.94, 200, 500), row("SPY", 167.4, 300, 2_000)]


def csv_of(ticks: list[Tick]) -> str:
    lines = [f"{t.exchange_timestamp},{t.symbol},{t.volume},{t.price}" for t in ticks]
    return "\n".join(["exchange_timestamp,symbol,volume,price", *lines, ""])


async def replay(path: Path, *options: object) -> tuple[Result, list[Tick]]:
    async with recorder() as server:
        result = await fakeclient("replay", path, "--server", server.address, *options)
        return result, server.ticks


async def test_a_file_is_sent_as_it_is_with_its_own_timestamps(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(csv_of(TICKS))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(csv_of(TICKS).encode()))
    for name in ("t.csv", "t.csv.gz"):
        result, ticks = await replay(tmp_path / name, *MAX)
        assert (result.code, result.errors, result.sent) == (0, "", 3)
        assert ticks == TICKS


async def test_speed_shortens_the_time_between_trades(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(csv_of(TICKS))
    result, ticks = await replay(path, "--speed", 10)
    assert ticks == TICKS
    assert 0.2 <= result.seconds <= 0.5


async def test_a_loop_sends_the_same_trades_again_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(csv_of(TICKS))
    result, ticks = await replay(path, *MAX, "--loop", "--limit", 7)
    assert result.sent == 7
    assert ticks == [*TICKS, *TICKS, TICKS[0]]


async def test_rows_encoded_ahead_are_followed_by_the_rest(tmp_path: Path) -> None:
    many = [row("SPY", 100 + i, 1, i) for i in range(10_000)]
    path = tmp_path / "t.csv"
    path.write_text(csv_of(many))
    result, ticks = await replay(path, *MAX, "--encode-ahead", 5_000)
    assert any(line.startswith("encoded 8,192 ticks ahead in ") for line in result.lines)
    assert ticks == many


async def test_options_before_the_command_count_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(csv_of(TICKS))
    async with recorder() as server:
        result = await fakeclient("--server", server.address, "replay", path, *MAX)
    assert result.sent == len(server.payloads) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "symbol,price,volume\nSPY,1,1\n",
            "has no column of the time that is known: add --columns",
        ),
        ("", "is empty"),
        ("SPY,1,1,1\n", "has no header, and its rows are of no known format: add --columns"),
    ],
)
async def test_a_file_in_doubt_is_refused_before_anything_is_sent(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    # Also where there is no server to send to.
    result = await fakeclient("replay", path, "--server", "127.0.0.1:1", *MAX)
    assert (result.code, result.lines) == (1, [])
    assert result.errors.startswith(f"fakeclient: {path}: {problem}")
    assert result.errors.count("\n") == 1


async def test_bad_rows_are_named_and_the_others_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    first, *rest = csv_of(TICKS).splitlines(keepends=True)
    path.write_text("".join([first, rest[0], "1,SPY,1,x\n", "1,SPY\n", *rest[1:]]))
    result, ticks = await replay(path, *MAX)
    assert (result.code, result.sent) == (1, 3)
    assert result.errors.splitlines() == [
        f"fakeclient: {path}: row 3: price 'x' is not a number",
        f"fakeclient: {path}: row 4: has 2 fields, should have 4",
        "fakeclient: 2 rows are not trades and were not sent",
    ]
    assert ticks == TICKS


async def test_sizes_ids_and_conditions_of_a_download_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-trades-2025-01-01.csv"
    path.write_text("1001,65000.10,0.467,30355.05,1735689600519000,True,True\n")
    result, ticks = await replay(path, *MAX)
    assert (result.code, result.errors) == (0, "")
    assert ticks == [
        Tick(
            symbol="BTCUSDT",
            price=65000.1,
            volume=467,
            volume_decimals=3,
            trade_id=b"1001",
            exchange_timestamp=1735689600519000000,
        )
    ]
    assert result.lines[0] == (
        f"{path.name}: binance trades, no header: id=1 price=2 size=3 time=5, numeric times, "
        "symbol BTCUSDT"
    )


async def test_an_option_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(csv_of(TICKS))
    result, _ = await replay(path, "--columns", "prise=2")
    assert result.code == 2
    assert "--columns" in result.errors


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result, _ = await replay(tmp_path / "no.csv")
    assert result.code == 1
    assert result.errors == f"fakeclient: {tmp_path / 'no.csv'}: No such file or directory\n"


@needs_real_trades
async def test_a_real_day_arrives_whole_and_in_order() -> None:
    result, ticks = await replay(REAL_TRADES, *MAX, "--connections", 2)
    assert result.sent == len(ticks) == 388_417
    by_symbol: defaultdict[str, list[Tick]] = defaultdict(list)
    for tick in ticks:
        by_symbol[tick.symbol].append(tick)
    assert {
        symbol: (
            trades[0].price,
            max(trade.price for trade in trades),
            min(trade.price for trade in trades),
            trades[-1].price,
            sum(trade.volume for trade in trades),
        )
        for symbol, trades in by_symbol.items()
    } == {
        "SPY": (167.41, 168.9, 167.01, 167.3, 97_062_721),
        "BAC": (13.94, 14.12, 13.79, 13.81, 64_411_712),
        "AIG": (49.18, 49.18, 48.69, 48.79, 5_300_449),
        "IBM": (181.52, 183.31, 181.35, 181.99, 3_960_352),
    }


async def test_a_made_up_day_is_written_and_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "day.csv.gz"
    options = ("--date", "2026-11-27", "--symbols", "AAPL,MSFT", "--trades", 2_000)
    made = await fakeclient("day", *options, "--out", path)
    assert (made.code, made.errors) == (0, "")
    assert made.lines == [f"wrote 2,000 trades of 2 symbols on 2026-11-27 to {path}"]
    result, ticks = await replay(path, *MAX)
    assert (result.code, len(ticks)) == (0, 2_000)
    assert {tick.symbol for tick in ticks} == {"AAPL", "MSFT"}
    again = tmp_path / "again.csv.gz"
    await fakeclient("day", *options, "--out", again)
    assert again.read_bytes() == path.read_bytes()
