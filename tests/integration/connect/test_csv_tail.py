"""Each row of a growing file is sent once, whatever happens to the file and to us."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connect.csv_tail import TailSource
from connect.errors import SourceFailed
from tests.doubles.connecting import Connecting, connecting
from tests.doubles.session_server import SessionServer, run_session_server

HEADER = "symbol,price,size,time\n"
Start = Callable[..., AbstractAsyncContextManager[Connecting]]


def row(number: int) -> str:
    return f"A,{number}.5,0.{number:03},{1_790_000_000 + number}\n"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.fixture
async def server() -> AsyncIterator[SessionServer]:
    async with run_session_server() as running:
        yield running


@pytest.fixture
def start(server: SessionServer) -> Start:
    return lambda path, **settings: _start(server, path, **settings)


def _start(
    server: SessionServer, path: Path, **settings: Any
) -> AbstractAsyncContextManager[Connecting]:
    return connecting(partial(TailSource, path), server, **settings)


def prices(run: Connecting) -> list[float]:
    return [each.price for each in run.ticks]


async def test_rows_are_sent_as_they_are_appended(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(HEADER + row(1))
    async with start(path) as run:
        await run.until_sent(1)
        append(path, row(2) + row(3)[:7])
        await run.until_sent(2)
        append(path, row(3)[7:])
        await run.until_sent(3)
        await run.until_said("live")
    assert prices(run) == [1.5, 2.5, 3.5]
    assert [(each.volume, each.volume_decimals) for each in run.ticks] == [(1, 3), (2, 3), (3, 3)]
    assert run.lines[:2] == ["source reading: trades.csv from byte 0", "source live: trades.csv"]


async def test_a_restart_goes_on_where_it_was(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(HEADER + row(1) + row(2))
    async with start(path) as run:
        await run.until_said("live")
    append(path, row(3))
    async with start(path) as run:
        await run.until_sent(3)
    assert prices(run) == [1.5, 2.5, 3.5]


async def test_rows_that_are_sent_again_after_a_crash_have_the_same_ids(
    tmp_path: Path, start: Start
) -> None:
    path, position = tmp_path / "trades.csv", tmp_path / "trades.csv.position"
    path.write_text(HEADER)
    async with start(path) as run:
        await run.until_said("live")
        before = position.read_text()
        append(path, row(1) + row(2))
        await run.until_sent(2)
    # The position of before: we were killed between the ack and the writing of it.
    position.write_text(before)
    async with start(path) as run:
        await run.until_sent(4)
    ids = [each.trade_id for each in run.ticks]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


async def test_a_file_that_is_replaced_or_cut_is_read_from_its_beginning(
    tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(HEADER + row(1) + row(2).strip())
    async with start(path) as run:
        await run.until_sent(1)
        path.rename(tmp_path / "trades.csv.1")
        path.write_text(HEADER + row(3))
        await run.until_sent(3)
        path.write_text(HEADER)
        await run.until_said("cut")
        append(path, row(4))
        await run.until_sent(4)
    assert prices(run) == [1.5, 2.5, 3.5, 4.5]
    assert len({each.trade_id for each in run.ticks}) == 4


async def test_a_file_may_come_later(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "trades.csv"
    async with start(path) as run:
        await run.until_said("waiting: there is no trades.csv yet")
        path.write_text(HEADER + row(1))
        await run.until_sent(1)


async def test_columns_may_have_other_names_or_none(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "trades.txt"
    path.write_text("1790000001;0.5;7\n")
    options = {"header": False, "delimiter": ";", "map": "time=1,size=2,price=3", "symbol": "B"}
    async with start(path, **options) as run:
        await run.until_sent(1)
    assert (run.ticks[0].symbol, run.ticks[0].price, run.ticks[0].volume) == ("B", 7.0, 5)


async def test_a_bad_row_is_named_and_the_others_are_sent(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(f"{HEADER}A,x,1,1790000000\n\n{row(2)}")
    async with start(path) as run:
        await run.until_sent(1)
        await run.until_said("dropped trades.csv byte 23: price 'x' is not a number")


async def test_a_position_that_cannot_be_read_ends_it(tmp_path: Path, start: Start) -> None:
    path, position = tmp_path / "trades.csv", tmp_path / "trades.csv.position"
    path.write_text(HEADER)
    position.write_text("{}")
    with pytest.raises(SourceFailed, match="cannot read the position"):
        async with start(path):
            pass
