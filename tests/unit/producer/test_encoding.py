"""Rows and columns as encoded records, against the protobuf library."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata.producer.columns import Additions, read_columns, table_additions, table_columns
from marketdata.producer.encoding import (
    EncodedTicks,
    RowEncoder,
    TickRow,
    encode_rows,
    split_records,
)
from marketdata.producer.errors import InvalidTick
from marketdata.producer.matrix import encode_columns
from marketdata.wire.market_data_pb2 import Tick, TickAction, TickBatch

CANCEL, CORRECT = TickAction.TICK_ACTION_CANCEL, TickAction.TICK_ACTION_CORRECT
INT64 = st.integers(-(2**63), 2**63 - 1)
ROWS = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        st.floats(width=64),
        INT64 | st.integers(0, 300),
        INT64 | st.integers(0, 300),
    ),
    max_size=50,
)
NS = 1_735_201_234_567_890_123


def oracle(rows: list[tuple[str, float, int, int]]) -> bytes:
    batch = TickBatch()
    for symbol, price, volume, timestamp in rows:
        batch.ticks.append(
            Tick(symbol=symbol, price=price, volume=volume, exchange_timestamp=timestamp)
        )
    return batch.SerializeToString()


def joined(pieces: Any) -> bytes:
    return b"".join(piece.data for piece in pieces)


def column_rows(columns: Any) -> list[tuple[str, float, int, int]]:
    batch = TickBatch.FromString(joined(encode_columns(columns)))
    return [(t.symbol, t.price, t.volume, t.exchange_timestamp) for t in batch.ticks]


@settings(deadline=None)
@given(ROWS)
def test_rows_are_encoded_as_the_protobuf_library_does(
    rows: list[tuple[str, float, int, int]],
) -> None:
    assert joined(encode_rows(rows)) == oracle(rows)


@settings(deadline=None)
@given(ROWS)
def test_columns_give_the_bytes_of_their_rows(rows: list[tuple[str, float, int, int]]) -> None:
    symbols, prices, volumes, times = ([row[n] for row in rows] for n in range(4))
    columns = read_columns(
        symbols,
        np.array(prices, np.float64),
        np.array(volumes, np.int64),
        np.array(times, np.int64),
    )
    assert joined(encode_columns(columns)) == oracle(rows)


@settings(deadline=None)
@given(ROWS)
def test_records_are_split_into_their_ticks(rows: list[tuple[str, float, int, int]]) -> None:
    ticks = [tick.SerializeToString() for tick in TickBatch.FromString(oracle(rows)).ticks]
    assert split_records(oracle(rows)) == ticks


def test_pieces_fit_one_batch() -> None:
    rows = [("S" * 900, 1.0, 1, NS)] * 2_000 + [("A", 1.0, 1, NS)] * 25_000
    symbols, prices, volumes, times = ([row[n] for row in rows] for n in range(4))
    columns = read_columns(symbols, prices, volumes, times)
    for pieces in (list(encode_rows(rows)), list(encode_columns(columns))):
        assert sum(piece.ticks for piece in pieces) == 27_000
        assert max(piece.ticks for piece in pieces) == 10_000 or len(pieces) > 20
        assert max(len(piece.data) for piece in pieces) <= 900_000
        for piece in pieces:
            assert len(TickBatch.FromString(piece.data).ticks) == piece.ticks


TABLE = pa.table(
    {
        "symbol": ["AAPL", "IBM", "AAPL"],
        "price": [1.5, 2.5, 3.5],
        "volume": pa.array([1, 2, 3], pa.int32()),
        "exchange_timestamp": [NS, NS + 1, NS + 2],
        "other": [1, 2, 3],
    }
)
EXPECTED = [("AAPL", 1.5, 1, NS), ("IBM", 2.5, 2, NS + 1), ("AAPL", 3.5, 3, NS + 2)]


class OnlyArrow:
    """An array of some other Arrow library."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self._array.__arrow_c_array__(requested_schema)


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        TABLE.set_column(0, "symbol", TABLE["symbol"].dictionary_encode()),
        TABLE.set_column(
            3, "timestamp", TABLE["exchange_timestamp"].cast(pa.timestamp("ns", "UTC"))
        ),
        pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]),
        pl.from_arrow(TABLE),
        TABLE.to_pydict(),
        {name: TABLE[name].to_numpy() for name in TABLE.column_names},
        {name: OnlyArrow(TABLE[name].combine_chunks()) for name in TABLE.column_names},
        TABLE.combine_chunks().to_batches()[0],
    ],
    ids=["arrow", "dictionary", "times", "chunks", "polars", "lists", "numpy", "c_array", "batch"],
)
def test_a_table_of_any_kind_is_columns(table: Any) -> None:
    assert column_rows(read_columns(*table_columns(table))) == EXPECTED


def test_one_symbol_may_stand_for_all_ticks() -> None:
    columns = read_columns("IBM", [1.0, 2.0], [1, 2], [NS, NS])
    assert column_rows(columns) == [("IBM", 1.0, 1, NS), ("IBM", 2.0, 2, NS)]


def test_no_ticks_give_no_bytes() -> None:
    assert list(encode_columns(read_columns([], [], [], []))) == []
    assert list(encode_rows([])) == []


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (NS, NS),
        (1_735_201_234, 1_735_201_234),
        (datetime(2024, 12, 26, 8, 20, 34, 567890, UTC), 1_735_201_234_567_890_000),
        (
            datetime(2024, 12, 26, 9, 20, 34, 567890, timezone(timedelta(hours=1))),
            1_735_201_234_567_890_000,
        ),
        (np.datetime64(NS, "ns"), NS),
        (np.datetime64("2024-12-26T08:20:34"), 1_735_201_234_000_000_000),
        (np.int64(NS), NS),
    ],
)
def test_times_of_any_kind_are_encoded(time: Any, expected: int) -> None:
    record = RowEncoder().encode("A", 1, 1, time)
    assert TickBatch.FromString(record).ticks[0].exchange_timestamp == expected


def test_a_fixed_unit_is_converted_to_nanoseconds() -> None:
    record = RowEncoder("ms").encode("A", 1, 1, 1_735_201_234_567)
    assert TickBatch.FromString(record).ticks[0].exchange_timestamp == 1_735_201_234_567_000_000
    columns = read_columns("A", [1.0], [1], [1_735_201_234_567], "ms")
    assert column_rows(columns) == [("A", 1.0, 1, 1_735_201_234_567_000_000)]


@pytest.mark.parametrize(
    ("row", "argument", "problem"),
    [
        ((5, 1.0, 1, NS), "symbol", "must be a string, is 5"),
        (("A" * 1001, 1.0, 1, NS), "symbol", "has 1001 bytes, limit is 1000"),
        (("\ud800", 1.0, 1, NS), "symbol", "is not valid Unicode"),
        (("A", "1.0", 1, NS), "price", "must be a number, is '1.0'"),
        (("A", None, 1, NS), "price", "must be a number, is None"),
        (("A", 10**400, 1, NS), "price", "must be a number"),
        (("A", 1.0, 1.5, NS), "volume", "must be a whole number, is 1.5"),
        (("A", 1.0, True, NS), "volume", "must be a whole number, is True"),
        (("A", 1.0, 2**63, NS), "volume", "is not between"),
        (("A", 1.0, 1, 1.5), "timestamp", "must be a whole number, is 1.5"),
        (("A", 1.0, 1, 2**63), "timestamp", "is not between"),
        (("A", 1.0, 1, datetime(2024, 1, 1)), "timestamp", "has no time zone"),
        (("A", 1.0, 1, datetime(2300, 1, 1, tzinfo=UTC)), "timestamp", "is not between"),
        (("A", 1.0, 1, np.datetime64("NaT")), "timestamp", "is NaT"),
        (("A", 1.0, 1, np.datetime64("2300-01-01")), "timestamp", "does not fit nanoseconds"),
        (("A", 1.0, 1), "row", "is not (symbol, price, volume, timestamp)"),
    ],
)
def test_an_invalid_argument_is_named(row: Any, argument: str, problem: str) -> None:
    with pytest.raises(InvalidTick) as caught:
        list(encode_rows([row]))
    assert caught.value.argument == argument
    assert problem in str(caught.value)


def test_the_rows_before_an_invalid_one_are_returned() -> None:
    pieces: list[EncodedTicks] = []
    with pytest.raises(InvalidTick):
        pieces.extend(encode_rows([("A", 1.0, 1, NS), ("B", 1.0, 1.5, NS)]))  # type: ignore[list-item]
    # extend() keeps what it got.
    assert [piece.ticks for piece in pieces] == [1]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ((["A"], [1.0, 2.0], [1, 2], [NS, NS]), "symbols has 1 values, prices has 2"),
        ((["A"], [1.0], [1, 2], [NS]), "volumes has 2 values, prices has 1"),
        (([1], [1.0], [1], [NS]), "symbol must be a string, is 1"),
        (([None], [1.0], [1], [NS]), "symbol must be a string, is None"),
        ((["A"], ["1"], [1], [NS]), "prices must be numbers, have the type"),
        ((["A"], [1.0], [1.0], [NS]), "volumes must be whole numbers, have the type float64"),
        ((["A"], [1.0], np.array([2**63], np.uint64), [NS]), "volumes has 9223372036854775808"),
        ((["A"], [[1.0]], [1], [NS]), "prices must have one dimension, has 2"),
        ((["A"], [1.0], [1], np.array(["NaT"], "M8[ns]")), "timestamps has NaT"),
        ((["A"], [1.0], [1], np.array(["2300-01-01"], "M8[D]")), "timestamps has a time that"),
        ((["A"], pa.array([None], pa.float64()), [1], [NS]), "prices has 1 nulls"),
        ((["A"], pl.Series([None], dtype=pl.Float64), [1], [NS]), "prices has 1 nulls"),
    ],
)
def test_an_invalid_column_is_named(columns: Any, problem: str) -> None:
    with pytest.raises(InvalidTick, match=problem):
        read_columns(*columns)


def test_a_fixed_unit_is_checked_for_overflow() -> None:
    with pytest.raises(InvalidTick, match="timestamps has a value beyond"):
        read_columns(["A"], [1.0], [1], [2**62], "s")


def test_a_table_without_a_column_is_an_error_that_names_it() -> None:
    with pytest.raises(InvalidTick, match=r"volume is not a column of the table, it has \['price'"):
        table_columns({"symbol": ["A"], "price": [1.0]})


def test_special_prices_stay_as_they_are() -> None:
    prices = [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324]
    columns = read_columns("A", prices, [0] * 6, [0] * 6)
    rows = [("A", price, 0, 0) for price in prices]
    assert joined(encode_columns(columns)) == joined(encode_rows(rows)) == oracle(rows)


MARKED = st.lists(
    st.tuples(
        st.sampled_from(["BTC-USDT", "A", "S" * 200]),
        st.floats(width=64),
        st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300),
        st.integers(0, 18),
        st.binary(max_size=64),
        st.integers(0, 15),
    ),
    max_size=30,
)
Marked = tuple[str, float, int, int, bytes, int]


def marked_oracle(rows: list[Marked]) -> bytes:
    names = ("symbol", "price", "volume", "volume_decimals", "trade_id", "excludes")
    ticks = [
        Tick(exchange_timestamp=NS, **dict(zip(names, row, strict=True)))  # type: ignore[arg-type]
        for row in rows
    ]
    return TickBatch(ticks=ticks).SerializeToString()


@settings(deadline=None)
@given(MARKED)
def test_rows_with_decimals_ids_and_excludes_are_encoded_as_the_protobuf_library_does(
    rows: list[Marked],
) -> None:
    encoder = RowEncoder()
    given_rows: list[TickRow] = [
        (symbol, price, (volume, decimals), NS, trade_id, excludes)
        for symbol, price, volume, decimals, trade_id, excludes in rows
    ]
    assert joined(encode_rows(given_rows)) == marked_oracle(rows)
    # What one tick has is not left over in the next.
    plain = encoder.encode("A", 1, 1, NS)
    for symbol, price, volume, timestamp, *_ in given_rows:
        encoder.encode(symbol, price, volume, timestamp, trade_id=b"x", excludes=1)
        assert encoder.encode("A", 1, 1, NS) == plain


@settings(deadline=None)
@given(MARKED)
def test_columns_with_decimals_ids_and_excludes_give_the_bytes_of_their_rows(
    rows: list[Marked],
) -> None:
    symbols, prices, volumes, decimals, ids, excludes = (
        [row[number] for row in rows] for number in range(6)
    )
    columns = read_columns(
        *(symbols, np.array(prices, np.float64), np.array(volumes, np.int64), [NS] * len(rows)),
        additions=Additions(np.array(decimals, np.uint8), ids, np.array(excludes, np.int64)),
    )
    assert joined(encode_columns(columns)) == marked_oracle(rows)


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (Decimal("0.467"), (467, 3)),
        (Decimal("27.00000000"), (27, 0)),
        (Decimal("1E+6"), (1_000_000, 0)),
        ((467, 3), (467, 3)),
        ((4670, 4), (4670, 4)),
        (5, (5, 0)),
        (np.int64(5), (5, 0)),
    ],
)
def test_sizes_of_any_kind_are_encoded_exactly(volume: Any, expected: tuple[int, int]) -> None:
    (tick,) = TickBatch.FromString(RowEncoder().encode("A", 1, volume, NS)).ticks
    assert (tick.volume, tick.volume_decimals) == expected


@pytest.mark.parametrize(
    ("trade_id", "expected"),
    [(b"\x00\xff\x00", b"\x00\xff\x00"), ("4711-Ä", "4711-Ä".encode()), (4711, b"4711"), (0, b"0")],
)
def test_ids_are_bytes_text_or_numbers(trade_id: Any, expected: bytes) -> None:
    record = RowEncoder().encode("A", 1, 1, NS, trade_id=trade_id)
    assert TickBatch.FromString(record).ticks[0].trade_id == expected
    columns = read_columns("A", [1.0], [1], [NS], additions=Additions(trade_ids=[trade_id]))
    assert joined(encode_columns(columns)) == record


def test_a_trade_is_cancelled_and_corrected_by_its_id() -> None:
    encoder = RowEncoder("ms")
    cancel = encoder.encode_cancel("A", 7, NS // 10**6)
    correct = encoder.encode_correct("A", 2, Decimal("0.5"), NS // 10**6, trade_id="7", excludes=4)
    when = NS // 10**6 * 10**6
    assert list(TickBatch.FromString(cancel + correct).ticks) == [
        Tick(symbol="A", trade_id=b"7", exchange_timestamp=when, action=CANCEL),
        Tick(
            symbol="A",
            price=2,
            volume=5,
            exchange_timestamp=when,
            volume_decimals=1,
            trade_id=b"7",
            excludes=4,
            action=CORRECT,
        ),
    ]
    with pytest.raises(InvalidTick, match="trade_id is empty"):
        encoder.encode_cancel("A", "", NS)
    with pytest.raises(InvalidTick, match="trade_id is empty"):
        encoder.encode_correct("A", 1, 1, NS, trade_id=b"")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"volume": Decimal("NaN")}, "volume NaN is not a number"),
        ({"volume": Decimal("1E-19")}, "volume 1E-19 has 19 decimals, limit is 18"),
        ({"volume": Decimal(2**63)}, "volume 9223372036854775808 is not between"),
        ({"volume": Decimal("9.3") * 10**18}, "volume 9300000000000000000 is not between"),
        ({"volume": Decimal("1E+999999999")}, "has more than 60 digits"),
        ({"volume": (1, 19)}, "volume_decimals 19 is not between 0 and 18"),
        ({"volume": (1, 1, 1)}, "is not (volume, decimals)"),
        ({"volume": (1.5, 1)}, "volume must be a whole number"),
        ({"trade_id": b"x" * 65}, "trade_id has 65 bytes, limit is 64"),
        ({"trade_id": "ä" * 33}, "trade_id has 66 bytes, limit is 64"),
        ({"trade_id": 1.5}, "trade_id must be bytes, a string or a whole number, is 1.5"),
        ({"trade_id": "\ud800"}, "trade_id '\\ud800' is not valid Unicode"),
        ({"excludes": 16}, "excludes 16 is not between 0 and 15"),
        ({"excludes": -1}, "excludes -1 is not between 0 and 15"),
        ({"trade_id": b"x", "price": None}, "price must be a number, is None"),
        ({"trade_id": b"x", "symbol": 5}, "symbol must be a string, is 5"),
    ],
)
def test_a_size_an_id_or_excludes_that_cannot_be_sent_are_named(
    arguments: dict[str, Any], problem: str
) -> None:
    usual: dict[str, Any] = {"symbol": "A", "price": 1.0, "volume": 1, "timestamp": NS}
    with pytest.raises(InvalidTick, match=re.escape(problem)):
        RowEncoder().encode(**usual | arguments)


SIZES = [Decimal("0.467"), Decimal("2"), Decimal("1.50")]


@pytest.mark.parametrize(
    "volumes",
    [
        SIZES,
        np.array(SIZES, object),
        pa.array(SIZES),
        pl.Series(SIZES),
        [Decimal("0.467"), 2, Decimal("1.5")],
    ],
    ids=["list", "numpy", "arrow", "polars", "mixed"],
)
def test_columns_of_decimals_are_exact(volumes: Any) -> None:
    columns = read_columns("A", [1.0] * 3, volumes, [NS] * 3)
    ticks = TickBatch.FromString(joined(encode_columns(columns))).ticks
    found = [(tick.volume, tick.volume_decimals) for tick in ticks]
    assert found == [(467, 3), (2, 0), (15, 1)]


def test_a_table_may_have_decimals_ids_and_excludes() -> None:
    table = {
        **{"symbol": ["A", "B"], "price": [1.0, 2.0], "volume": [467, 5], "timestamp": [NS, NS]},
        **{"volume_decimals": [3, 0], "trade_id": [17, 18], "excludes": [0, 8]},
    }
    for made in (table, pl.DataFrame(table), pa.table(table)):
        columns = read_columns(*table_columns(made), additions=table_additions(made))
        assert list(TickBatch.FromString(joined(encode_columns(columns))).ticks) == [
            Tick(
                symbol="A",
                price=1,
                volume=467,
                exchange_timestamp=NS,
                volume_decimals=3,
                trade_id=b"17",
            ),
            Tick(
                symbol="B",
                price=2,
                volume=5,
                exchange_timestamp=NS,
                trade_id=b"18",
                excludes=8,
            ),
        ]
    assert table_additions({"symbol": [], "price": []}) == Additions()


@pytest.mark.parametrize(
    ("volumes", "additions", "problem"),
    [
        ([1, 2], Additions(volume_decimals=[1]), "volume_decimals has 1 values, prices has 2"),
        ([1, 2], Additions(volume_decimals=19), "volume_decimals 19 is not between 0 and 18"),
        ([1, 2], Additions(volume_decimals=[0, -1]), "volume_decimals -1 is not between"),
        ([1, 2], Additions(trade_ids=["a"]), "trade_ids has 1 values, prices has 2"),
        ([1, 2], Additions(trade_ids=["a", "b" * 65]), "trade_ids has 65 bytes, limit is 64"),
        ([1, 2], Additions(trade_ids=pa.array(["a", None])), "trade_ids has 1 nulls"),
        ([1, 2], Additions(excludes=[0, 16]), "excludes 16 is not between 0 and 15"),
        (SIZES[:2], Additions(volume_decimals=3), "volume_decimals is given, and volumes have"),
        ([Decimal("1E-19")] * 2, Additions(), "volumes 1E-19 has 19 decimals, limit is 18"),
        ([0.5, 1.5], Additions(), "volumes must be whole numbers, have the type float64"),
    ],
)
def test_a_column_of_decimals_ids_or_excludes_that_cannot_be_sent_is_named(
    volumes: Any, additions: Additions, problem: str
) -> None:
    with pytest.raises(InvalidTick, match=re.escape(problem)):
        read_columns("A", [1.0, 2.0], volumes, [NS, NS], additions=additions)


def test_pieces_with_the_longest_ids_fit_one_batch() -> None:
    count = 20_000
    columns = read_columns(
        *("S" * 64, [1.0] * count, [10**15] * count, [NS] * count),
        additions=Additions(18, [b"i" * 64] * count, 15),
    )
    pieces = list(encode_columns(columns))
    assert sum(piece.ticks for piece in pieces) == count
    assert max(len(piece.data) for piece in pieces) <= 900_000
