"""Files that people download become the trades that a person reads in them."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from marketdata.files.options import parse_options
from marketdata.files.source import BadFile, find_parts
from marketdata.files.trades import BadRow, Trade, TradeFile
from marketdata.symbols import normalize_symbol
from tests.doubles.trades import ROOT
from tests.unit.files.samples import SAMPLES, Sample, to_ns

IDS = [sample.name for sample in SAMPLES]


def read(
    path: Path, after_row: int = 0, /, **options: str
) -> tuple[list[Trade], list[BadRow], list[str]]:
    bad: list[BadRow] = []
    titles: list[str] = []
    trades = []
    for part in find_parts([path]):
        file = TradeFile(
            part, parse_options(**options), bad.append, lambda layout: titles.append(layout.title)
        )
        trades += list(file.read(after_row))
    return trades, bad, titles


def in_words(trade: Trade) -> tuple[object, ...]:
    symbol, price, volume, time, decimals, trade_id, excludes = trade
    size = Decimal(volume).scaleb(-decimals)
    return symbol, Decimal(repr(price)), size, time, trade_id.decode(), excludes


def expected(sample: Sample) -> list[tuple[object, ...]]:
    return [
        (symbol, Decimal(price), Decimal(size), to_ns(time), trade_id, excludes)
        for symbol, price, size, time, trade_id, excludes in sample.trades
    ]


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_a_format_is_recognised_and_read_exactly(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / sample.name
    is_gz = path.suffix == ".gz"
    path.write_bytes(gzip.compress(sample.text.encode()) if is_gz else sample.text.encode())
    trades, bad, titles = read(path, **sample.options)
    assert [in_words(trade) for trade in trades] == expected(sample)
    assert not bad
    assert len(titles) == 1
    assert titles[0].startswith("trades" if sample.format == "generic" else sample.format[:7])


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.format != "generic"])
def test_the_format_can_be_named(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / sample.name
    path.write_text(sample.text)
    trades, _, _ = read(path, file_format=sample.format, **sample.options)
    assert [in_words(trade) for trade in trades] == expected(sample)


@pytest.mark.parametrize("way", ["plain", "gz", "zst", "zip", "crlf", "bom", "parquet"])
def test_every_way_to_write_a_file_gives_the_same_trades(way: str, tmp_path: Path) -> None:
    sample = SAMPLES[2]
    data = sample.text.encode()
    path = tmp_path / f"{sample.name}.{way}"
    match way:
        case "gz":
            path.write_bytes(gzip.compress(data))
        case "zst":
            path.write_bytes(pa.compress(data, "zstd", asbytes=True))
        case "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(sample.name, data)
        case "crlf":
            path = path.with_suffix("")
            path.write_bytes(data.replace(b"\n", b"\r\n"))
        case "bom":
            path = path.with_suffix("")
            path.write_bytes(b"\xef\xbb\xbf" + data)
        case "parquet":
            pq.write_table(pa_csv.read_csv(pa.BufferReader(data)), path)
        case _:
            path = path.with_suffix("")
            path.write_bytes(data)
    trades, bad, _ = read(path)
    assert [in_words(trade) for trade in trades] == expected(sample)
    assert not bad


def test_parquet_keeps_decimals_and_times(tmp_path: Path) -> None:
    table = pa.table(
        {
            "symbol": pa.array(["BTC", "BTC"]).dictionary_encode(),
            "price": pa.array([0.1, 65000.25], pa.float64()),
            "size": pa.array([Decimal("0.467"), Decimal("27.000")], pa.decimal128(20, 3)),
            "ts": pa.array([1735914600000000001, 1735914601000000000], pa.timestamp("ns", "UTC")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    trades, bad, _ = read(tmp_path / "a.parquet")
    assert trades == [
        ("BTC", 0.1, 467, 1735914600000000001, 3, b"", 0),
        ("BTC", 65000.25, 27, 1735914601000000000, 0, b"", 0),
    ]
    assert not bad


def test_bad_rows_are_named_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "symbol,price,volume,exchange_timestamp\n"
        "A,1.5,2,1735914600000\n"
        "\n"
        "A,n/a,2,1735914600000\n"
        "A,1.5,2\n"
        "A,1.5,1_0,1735914600000\n"
        "A,1.5,0x10,1735914600000\n"
        "A,1.5,2,soon\n"
        ",1.5,2,1735914600000\n"
        "A,nan,2,1735914600000\n"
        "A,1.5,0.1234567890123456789,1735914600000\n"
        "A,1.5,9223372036854775808,1735914600000\n"
        "A,2.5,3,1735914600001\n"
    )
    trades, bad, _ = read(path)
    assert trades == [
        ("A", 1.5, 2, 1735914600000, 0, b"", 0),
        ("A", 2.5, 3, 1735914600001, 0, b"", 0),
    ]
    assert [(row.row, str(row)) for row in bad] == [
        (4, "row 4: price 'n/a' is not a number"),
        (5, "row 5: has 3 fields, should have 4"),
        (6, "row 6: volume '1_0' is not a number"),
        (7, "row 7: volume '0x10' is not a number"),
        (8, "row 8: exchange_timestamp 'soon' is not a whole number"),
        (9, "row 9: symbol '' is empty"),
        (10, "row 10: price 'nan' is not a finite number"),
        (11, "row 11: volume '0.1234567890123456789' has more than 18 decimals"),
        (
            12,
            "row 12: volume '9223372036854775808' is above 9223372036854775807, "
            "the largest number of units",
        ),
    ]
    assert {row.row: row.kind for row in bad}[10] == "price_not_finite"
    assert (bad[0].symbol, bad[0].time) == ("A", 1735914600000)


@pytest.mark.parametrize(
    ("name", "text", "options", "problem"),
    [
        ("a.csv", "1,2,3\n", {}, "has no header, and its rows are of no known format: add --colum"),
        ("t.csv", "1381095255,122.0,0.1\n", {}, "fit: add --format kraken or --format bitstamp"),
        ("a.csv", "price,volume,time\n1,2,1735914600\n", {}, "which symbol was traded: add --sym"),
        ("a.csv", "symbol,price,volume,size,time\nA,1,2,2,1735914600\n", {}, "--columns size=NAME"),
        ("a.csv", "symbol,price,time\nA,1,1735914600\n", {}, "no column of the size that is known"),
        ("a.csv", "symbol,price,size,time\nA,1,2,2025-01-03 10:00:00\n", {}, "add --zone"),
        ("a.csv", "symbol,price,size,time\nA,1,2,03/04/2025 10:00:00Z\n", {}, "add --dates dmy or"),
        ("a.csv", "symbol,price,size,time\nA,1,2,10:00:00\n", {}, "add --date YYYY-MM-DD"),
        ("a.csv", "symbol;price;size;time\nA;1,250;2;1735914600\n", {}, "add --decimal ,"),
        ("a.csv", "symbol,price,size,time\nA,1,2,1735914600\n", {"symbol": "B"}, "leave --symbol"),
        ("a.csv", "a,b\n1,2\n", {"file_format": "taq"}, "is not a file of --format taq"),
        ("a.csv", "", {}, "is empty"),
        ("a.csv", "\n \n", {}, "is empty"),
        ("a.csv", "\x00\x01\x02", {}, "is not a text"),
        ("a.dbn", "DBN\x01", {}, "is DBN"),
        ("a.csv", "symbol,price,size,time\nA,1,2,yesterday\n", {}, "times that cannot be read"),
    ],
)
def test_a_file_in_doubt_is_refused_with_the_option_to_add(
    name: str, text: str, options: dict[str, str], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadFile) as failure:
        read(path, **options)
    assert problem in str(failure.value)
    assert str(failure.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("symbol,price,volume,size,time\nA,1,9,2,1735914600.0\n", {"columns": "size=size"}),
        ("symbol,price,size,time\nA,1,2,2025-01-03 14:30\n", {"zone": "UTC"}),
        ("symbol,price,size,time\nA,1,2,03/01/2025 14:30:00Z\n", {"dates": "dmy"}),
        ("symbol,price,size,time\nA,1,2,14:30:00\n", {"date": "2025-01-03", "zone": "UTC"}),
        ("symbol;price;size;time\nA;1,000;2;1735914600.0\n", {"decimal": "comma"}),
        ("A^1^2^1735914600.0\n", {"columns": "symbol=1,price=2,size=3,time=4", "delimiter": "^"}),
        ("price,size,time\n1,2,1735914600.0\n", {"symbol": "A"}),
        ('"symbol","price","size","time"\n"A","1","2","2025-01-03T14:30:00Z"\n', {}),
    ],
)
def test_the_option_removes_the_doubt(text: str, options: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    trades, bad, _ = read(path, **options)
    assert trades == [("A", 1.0, 2, to_ns("2025-01-03T14:30:00"), 0, b"", 0)]
    assert not bad


def test_a_file_without_sizes_moves_no_volume(tmp_path: Path) -> None:
    path = tmp_path / "index.csv"
    path.write_text("symbol,price,time\nSPX,5900.5,2025-01-03T14:30:00Z\n")
    trades, _, _ = read(path, columns="size=none")
    assert trades == [("SPX", 5900.5, 0, to_ns("2025-01-03T14:30:00"), 0, b"", 8)]


def test_a_zip_is_read_member_by_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "Kraken_Trading_History.zip", "w") as archive:
        archive.writestr("XBTUSD.csv", "1381095255,122.0,0.1\n")
        archive.writestr("ETHUSD.csv", "1438956180,3.0,81.8\n")
    trades, _, titles = read(tmp_path / "Kraken_Trading_History.zip")
    assert [trade[0] for trade in trades] == ["ETHUSD", "XBTUSD"]
    assert len(titles) == 2


@pytest.mark.parametrize("way", ["gz", "zst"])
def test_a_file_cut_short_gives_what_it_has_and_is_named(way: str, tmp_path: Path) -> None:
    rows = "".join(f"A,1.5,{n},1735914600000\n" for n in range(1, 60_000))
    data = ("symbol,price,volume,exchange_timestamp\n" + rows).encode()
    packed = gzip.compress(data) if way == "gz" else pa.compress(data, "zstd", asbytes=True)
    path = tmp_path / f"a.csv.{way}"
    path.write_bytes(packed[: len(packed) // 2])
    file = TradeFile(find_parts([path])[0], parse_options(), lambda _bad: None)
    with pytest.raises(BadFile, match=r"a\.csv"):
        list(file.read())


def test_reading_goes_on_after_any_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"A,1.5,{n},1735914600000" for n in range(1, 40_000)]
    rows[7] = "A,x,1,1735914600000"
    rows[9] = "A,1"
    path.write_text("symbol,price,volume,exchange_timestamp\n\n" + "\n".join(rows) + "\n")
    every, bad, _ = read(path)
    assert [row.row for row in bad] == [10, 12]
    for after in (0, 3, 9, 10, 12, 20_000, 39_999):
        some, _, _ = read(path, after)
        assert some == [trade for trade in every if trade[2] + 2 > after]


def test_a_missing_quote_gives_a_bad_row_and_no_wrong_trade(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = '"%s","note",1.5,2,"2025-01-03T14:30:00Z"\n'
    path.write_text(
        '"symbol","note","price","size","time"\n'
        + good % "A"
        + '"B","note,1.5,2,"2025-01-03T14:30:00Z"\n"C","note",9.5,7,"2025-01-03T14:30:00Z"\n'
        + good % "D"
    )
    trades, bad, _ = read(path)
    # Whatever a quote makes of the line of B, no trade has the numbers of another one.
    real = {"A": (1.5, 2), "B": (1.5, 2), "C": (9.5, 7), "D": (1.5, 2)}
    assert all(trade[1:3] == real[trade[0]] for trade in trades)
    assert "A" in {trade[0] for trade in trades}
    assert bad


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(SAMPLES[0].text)
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from fakeclient.__main__ import app\n"
        f"app(['replay', {str(path)!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"fakeclient: {path}: reading files of trades needs pyarrow: "
        "pip install 'market-data-server[files]'\n"
    )


def test_a_symbol_that_is_given_is_checked() -> None:
    with pytest.raises(Exception, match="--symbol"):
        parse_options(symbol="A,B")
    assert normalize_symbol("BTC-USDT") == parse_options(symbol=" BTC-USDT ").symbol
