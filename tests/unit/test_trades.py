"""Reading trades: any order of columns, and each fault is named with its row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from marketdata.trades import COLUMNS, BadRow, Row, TradeReader

HEADER = "symbol,price,volume,exchange_timestamp"
VALUES = {"symbol": "SPY", "price": "167.4100", "volume": "100", "exchange_timestamp": "1381132800"}
SPY = ("SPY", 167.41, 100, 1381132800)


def read(*lines: str) -> list[Row]:
    return list(TradeReader(f"{line}\n" for line in lines))


@pytest.mark.parametrize("order", list(itertools.permutations(COLUMNS)))
def test_columns_may_come_in_any_order(order: tuple[str, ...]) -> None:
    assert read(",".join(order), ",".join(VALUES[name] for name in order)) == [SPY]


def test_other_columns_spaces_capitals_and_empty_lines_do_no_harm() -> None:
    header = "venue, Symbol ,price,VOLUME,exchange_timestamp"
    assert read(header, 'N,"SPY",167.41,100,1381132800', "", "") == [SPY]


def test_a_header_alone_is_an_empty_file() -> None:
    assert read(HEADER) == []


def test_nothing_is_read_before_it_is_asked_for() -> None:
    def lines() -> Iterator[str]:
        yield f"{HEADER}\n"
        yield "SPY,167.41,100,1381132800\n"
        pytest.fail("read too far")

    assert next(iter(TradeReader(lines()))) == SPY


def test_rows_before_a_bad_one_are_returned() -> None:
    rows = iter(TradeReader([HEADER, "SPY,167.41,100,1381132800", "SPY,x,1,1"]))
    assert next(rows) == SPY
    with pytest.raises(BadRow) as caught:
        next(rows)
    assert caught.value.row == 3
    assert str(caught.value) == "row 3: price 'x' is not a number"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("SPY,abc,1,1", "price 'abc' is not a number"),
        ("SPY,,1,1", "price '' is not a number"),
        ("SPY,nan,1,1", "price 'nan' is not a finite number above 0"),
        ("SPY,inf,1,1", "price 'inf' is not a finite number above 0"),
        ("SPY,0,1,1", "price '0' is not a finite number above 0"),
        ("SPY,-1.5,1,1", "price '-1.5' is not a finite number above 0"),
        ("SPY,1,1.5,1", "volume '1.5' is not a whole number"),
        ("SPY,1,0,1", "volume '0' is not between 1 and 9223372036854775807"),
        (
            "SPY,1,9223372036854775808,1",
            "volume '9223372036854775808' is not between 1 and 9223372036854775807",
        ),
        ("SPY,1,1,", "exchange_timestamp '' is not a whole number"),
        ("SPY,1,1,-3", "exchange_timestamp '-3' is not between 1 and 9223372036854775807"),
        ("SPY,1,1", "has 3 fields, the header has 4"),
        ("SPY,1,1,1,1", "has 5 fields, the header has 4"),
        (",1,1,1", "symbol '' is empty"),
        (f"{'X' * 70},1,1,1", f"symbol '{'X' * 40}' has 70 characters, limit is 64"),
        ("SPY,1_50.25,1,1", "price '1_50.25' is not a number"),
        ("SPY,1,1_000,1", "volume '1_000' is not a whole number"),
        ("SPY,1,1,17_35914600000", "exchange_timestamp '17_35914600000' is not a whole number"),
        ("SPY,\u0661\u0665\u0660,1,1", "price '\u0661\u0665\u0660' is not a number"),
        ("SPY,1,\uff11\uff10\uff10,1", "volume '\uff11\uff10\uff10' is not a whole number"),
        ("SPY,1,1,\u0967\u096d", "exchange_timestamp '\u0967\u096d' is not a whole number"),
        ("S\udcff,1,1,1", r"symbol 'S\udcff' must be printable ASCII"),
        ('"SPY"x,1,1,1', "',' expected after '\"'"),
    ],
)
def test_a_bad_row_is_named_with_its_reason(line: str, reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        read(HEADER, "SPY,1,1,1", line)
    assert caught.value.row == 3
    assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("symbol,price,volume", "column exchange_timestamp is missing in the header"),
        (f"{HEADER},price", "column price is there more than once in the header"),
        ("\x1f\udc8b", "column symbol is missing in the header"),
    ],
)
def test_a_bad_header_is_row_1(header: str, reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        read(header)
    assert caught.value.row == 1
    assert caught.value.reason.startswith(reason)


def test_a_file_without_a_header_is_told_what_it_needs() -> None:
    with pytest.raises(BadRow, match=f"row 1: the file is empty, a header is needed: {HEADER}"):
        TradeReader([])
