"""Options, variables, and what a terminal shows."""

from __future__ import annotations

import asyncio
import os
import pty
import sys

import pytest

from tests.integration.fakeclient.recorder import ROOT, TIMEOUT_S, fakeclient, recorder


async def test_variables_set_what_options_do_not() -> None:
    async with recorder() as server:
        result = await fakeclient(
            *("--limit", 20, "--rate", "max"),
            SERVER=server.address,
            LIMIT="10",
            SYMBOLS=" AAPL",
        )
    assert result.sent == 20
    assert {tick.symbol for tick in server.ticks} == {"AAPL"}


async def test_an_unknown_variable_is_refused_with_the_nearest_known_name() -> None:
    result = await fakeclient(SERVR="localhost:1")
    assert result.code == 2
    assert result.errors == (
        "fakeclient: unknown setting FAKECLIENT_SERVR, "
        "the nearest known name is FAKECLIENT_SERVER\n"
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--rate", "fast"), "--rate"),
        (("--bad-fraction", "2"), "--bad-fraction"),
        (("--symbols", "AAPL,"), "--symbols"),
        (("--rate", "5", "replay", "t.csv"), "--rate"),
        (("replay", "t.csv", "--speed", "0"), "--speed"),
    ],
)
async def test_an_option_that_cannot_be_used_is_named(options: tuple[str, ...], named: str) -> None:
    result = await fakeclient(*options)
    assert result.code == 2
    assert f"Invalid value for {named}" in result.errors
    assert "Traceback" not in result.errors


async def test_a_quiet_run_says_no_progress() -> None:
    async with recorder() as server:
        result = await fakeclient(
            *("--server", server.address, "--rate", 100, "--duration", 1.5), LOG_LEVEL="warning"
        )
    assert [line for line in result.lines if line.startswith("sent ")] == [result.summary]


async def test_a_terminal_shows_moving_progress_and_then_the_summary() -> None:
    ours, theirs = pty.openpty()
    async with recorder() as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fakeclient"),
            *("--server", server.address, "--rate", "1000", "--duration", "1"),
            cwd=ROOT,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = await asyncio.wait_for(asyncio.to_thread(read_all, ours), TIMEOUT_S)
        assert await process.wait() == 0
    assert shown.count(" ticks/s") > 5
    assert "\x1b[2K" in shown
    assert "sent 1,000 ticks in 1.0" in shown


def read_all(descriptor: int) -> str:
    pieces = []
    try:
        while piece := os.read(descriptor, 65536):
            pieces.append(piece)
    except OSError:
        # Linux ends a terminal without a writer with EIO.
        pass
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode()
