"""The fakeclient in producer sessions."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from tests.doubles.pipeline import run_aggregator, run_ingest
from tests.doubles.processes import bound
from tests.doubles.session_server import error_frame, run_session_server

TIMEOUT_S = 60


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *bound(sys.executable, "-m", "fakeclient", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, list[str], str]:
    """Return the exit code, the lines of output, and the errors."""
    async with asyncio.timeout(TIMEOUT_S):
        output, errors = await process.communicate()
    return process.returncode, output.decode().splitlines(), errors.decode()


async def run(*arguments: str) -> tuple[int | None, list[str], str]:
    return await end(await start(*arguments))


async def test_every_tick_of_a_walk_is_acked_or_rejected_by_real_services() -> None:
    async with (
        run_aggregator(session="none") as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
    ):
        server = f"127.0.0.1:{ingest.listener.port}"
        bad = ("--bad-fraction", "0.1", "--connections", "3")
        code, lines, errors = await run(
            *("--acks", "--server", server, "--rate", "max", "--limit", "10000", *bad)
        )
        assert (code, errors) == (0, "")
        assert lines[-1].startswith("acked 9,000 + rejected 1,000 = sent 10,000; rejected: ")
        assert aggregator.market.last_sequence("fakeclient-3") > 0
        book = aggregator.market.book
        assert sum(book.state(symbol).trades for symbol in book.symbols()) == 9_000


async def test_a_replay_goes_on_with_the_sequences_of_its_id(tmp_path: Path) -> None:
    file = tmp_path / "trades.csv"
    rows = [f"A,{number},1,{1_735_201_234_000 + number}" for number in range(1, 101)]
    file.write_text("\n".join(("symbol,price,volume,exchange_timestamp", *rows)))
    async with run_session_server() as server:
        for _ in range(2):
            code, lines, _ = await run(
                *("replay", str(file), "--acks", "--producer-id", "nyse"),
                *("--server", server.address, "--speed", "max"),
            )
            assert code == 0
            assert lines[-1] == "acked 100 + rejected 0 = sent 100"
        assert server.ledger.last_sequences == {"nyse": 200}


async def test_a_lost_server_delays_the_ticks_and_loses_none() -> None:
    async with run_session_server() as server:
        cuts = iter(range(3))

        def cut_sometimes() -> None:
            if len(server.ledger.applied) % 7 == 0 and next(cuts, None) is not None:
                server.cut()

        server.on_batch = cut_sometimes
        arguments = ("--acks", "--rate", "max", "--encode-ahead", "5000", "--limit", "50000")
        code, lines, _ = await run("--server", server.address, *arguments)
        assert (code, lines[-1]) == (0, "acked 50,000 + rejected 0 = sent 50,000")
        assert len(server.ledger.applied) == 50_000


async def test_ticks_without_an_ack_are_exit_1() -> None:
    async with run_session_server() as server:
        server.answering.clear()
        process = await start("--acks", "--server", server.address, "--limit", "100")
        async with asyncio.timeout(TIMEOUT_S):
            await server.batch_arrived.wait()
        process.send_signal(signal.SIGTERM)
        code, lines, errors = await end(process)
        server.answering.set()
    assert code == 1
    assert lines[-1].startswith("acked 0 + rejected 0 = sent 0; ")
    assert lines[-1].endswith(" more were sent and are not acked")
    assert "ticks are not acked after 5 s: the server does not answer" in errors


async def test_a_refused_session_is_exit_1() -> None:
    async with run_session_server() as server:
        server.refuse_with = error_frame("invalid_producer_id")
        code, lines, errors = await run("--acks", "--server", server.address, "--limit", "5")
    assert code == 1
    assert errors == ("fakeclient: the server refused the producer: invalid_producer_id: because\n")
    assert lines[-1] == "acked 0 + rejected 0 = sent 0"


async def test_an_invalid_producer_id_is_exit_2() -> None:
    code, _, errors = await run("--acks", "--producer-id", "ingest-1")
    assert code == 2
    assert "--producer-id" in errors
