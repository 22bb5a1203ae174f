"""What the terminal shows."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from gateway.encoding import aggregate_to_dict
from marketdata.client import Gap, Live, Stale, Update
from marketdata.client.board import Board
from marketdata.client.decode import decode_aggregate
from marketdata.wire import market_data_pb2 as wire


def update(symbol: str, price: float, **fields: Any) -> Update[Any]:
    message = wire.Aggregate(
        symbol=symbol,
        open=100.0,
        high=price,
        low=100.0,
        close=price,
        vwap=100.123456,
        trades=1234,
        sequence=1,
        epoch=7,
        timestamp=1_735_201_234_567_890_123,
    )
    return Update(decode_aggregate({**aggregate_to_dict(message), **fields}))


def shown(board: Board, rows: int = 10) -> str:
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(board.table(rows))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_a_row_has_the_numbers_of_its_symbol() -> None:
    board = Board("http://h", ["AAPL", "NIX"])
    assert "http://h  connecting" in shown(board)
    for event in (Live(), update("AAPL", 101.5, volume="1234567.000467")):
        board.take(event)
    lines = shown(board).splitlines()
    assert lines[0].strip() == "http://h  live"
    (row,) = [line for line in lines if "AAPL" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == [
        *("AAPL", "101.5", "+1.50%", "100.0", "101.5", "100.0", "100.1235"),
        *("1,234,567.000467", "1,234", "08:20:34.567"),
    ]
    (unknown,) = [line for line in lines if "NIX" in line]
    assert unknown.count("-") == 9


def test_old_prices_and_lost_states_are_said() -> None:
    board = Board("http://h", ["AAPL"])
    for event in (Live(), update("AAPL", 1.0), Stale("feed", "gone"), Gap("AAPL", None)):
        board.take(event)
    title = "http://h  old prices: no feed: gone  states of 1 symbols were lost"
    assert shown(board).splitlines()[0].strip() == title


def test_symbols_beyond_the_window_are_counted() -> None:
    board = Board("http://h", ["*"])
    for name in ("B", "A", "C"):
        board.take(update(name, 1.0))
    text = shown(board, rows=1)
    assert "A" in text
    assert "and 2 more" in text


def test_a_symbol_with_brackets_is_shown_as_it_is() -> None:
    board = Board("http://h", ["*"])
    board.take(update("[red]", 1.0, open=0.0, volume=None, trades=None, timestampNs=None))
    (row,) = [line for line in shown(board).splitlines() if "[red]" in line]
    assert row.count(" - ") == 4


def test_a_reader_that_is_no_terminal_gets_lines() -> None:
    board = Board("http://h", ["AAPL"])
    assert [
        board.line(event)
        for event in (
            Live(),
            update("AAPL", 101.5, volume="0.467"),
            Gap("AAPL", 3),
            Gap("AAPL", None),
            Stale("connection", "the server restarts"),
        )
    ] == [
        "live",
        "2024-12-26T08:20:34.567890+00:00 AAPL 101.5 volume 0.467",
        "AAPL: 3 states were lost",
        "AAPL: some states were lost",
        "old prices: no connection: the server restarts",
    ]
