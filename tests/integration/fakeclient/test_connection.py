"""A server that is gone, comes back, or does not read; and the signals that end a run."""

from __future__ import annotations

import signal

import pytest

from tests.integration.fakeclient.recorder import (
    Fakeclient,
    Recorder,
    fakeclient,
    recorder,
    started,
)


async def stopped(program: Fakeclient, number: signal.Signals, server: Recorder) -> None:
    program.process.send_signal(number)
    result = await program.end()
    assert (result.code, result.errors) == (0, "")
    assert result.sent == len(server.payloads)
    assert not any(connection.ended_inside_a_frame for connection in server.connections)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("rate", ["1000", "max"])
async def test_a_signal_ends_the_run_at_a_frame_boundary_with_the_summary(
    number: signal.Signals, rate: str
) -> None:
    async with recorder() as server, started("--rate", rate, "--server", server.address) as program:
        await server.wait_until(lambda: len(server.payloads) > 500)
        await stopped(program, number, server)


async def test_progress_is_a_plain_line_per_second_where_there_is_no_terminal() -> None:
    async with recorder() as server:
        result = await fakeclient("--rate", 100, "--duration", 2.5, "--server", server.address)
    progress = [line for line in result.lines if line.endswith(" ticks/s")][1:]
    assert result.lines[0].endswith(f"to {server.address}, 100 ticks/s")
    assert 1 <= len(progress) <= 2
    assert progress[0].startswith("sent ")


async def test_a_server_that_comes_back_is_used_again_and_both_are_said() -> None:
    async with recorder() as server, started("--server", server.address) as program:
        await program.line_with(f"connected to {server.address}")
        await server.wait_until(lambda: len(server.payloads) > 50)
        await server.drop()
        assert (await program.line_with("lost")).startswith(f"lost {server.address}: ")
        before = len(server.payloads)
        await server.listen()
        back = await program.line_with(f"connected to {server.address} after")
        assert back.endswith(" s")
        await server.wait_until(lambda: len(server.payloads) > before + 50)
        program.process.terminate()
        result = await program.end()
    assert (result.code, result.errors) == (0, "")
    assert sum("trying again" in line for line in result.lines) == 1
    # What was in the socket when it died may be lost, and nothing comes twice.
    assert len(server.payloads) <= result.sent
    times = [tick.exchange_timestamp for tick in server.ticks]
    assert len(set(times)) == len(times)


async def test_many_connections_that_die_together_are_one_outage() -> None:
    async with (
        recorder() as server,
        started("--server", server.address, "--connections", 8, "--symbols", 100) as program,
    ):
        await server.wait_until(lambda: len(server.payloads) > 50)
        await server.drop()
        await program.line_with("trying again")
        await server.listen()
        await server.wait_until(lambda: len(server.connections) == 16)
        program.process.terminate()
        result = await program.end()
    assert sum("trying again" in line for line in result.lines) == 1
    assert sum("connected" in line for line in result.lines) == 2


async def test_a_server_that_starts_late_is_waited_for() -> None:
    async with recorder() as server:
        await server.drop()
        async with started("--server", server.address, "--limit", 10) as program:
            assert await program.line_with("trying again") == (
                f"cannot connect to {server.address}: Connection refused; trying again"
            )
            await server.listen()
            result = await program.end()
        assert result.code == 0
        assert len(server.payloads) == 10


async def test_a_signal_while_waiting_for_the_server_ends_the_run() -> None:
    async with recorder() as server:
        await server.drop()
        async with started("--server", server.address) as program:
            await program.line_with("trying again")
            await stopped(program, signal.SIGTERM, server)


async def test_without_retry_a_refused_connection_exits_1() -> None:
    async with recorder() as server:
        await server.drop()
        result = await fakeclient("--server", server.address, "--no-retry")
    assert result.code == 1
    assert result.errors == f"fakeclient: cannot connect to {server.address}: Connection refused\n"


async def test_without_retry_a_lost_server_exits_1_after_the_summary() -> None:
    async with recorder() as server, started("--server", server.address, "--no-retry") as program:
        await server.wait_until(lambda: len(server.payloads) > 50)
        await server.drop()
        result = await program.end()
    assert result.code == 1
    assert result.errors.startswith(f"fakeclient: lost {server.address}: ")
    assert result.sent >= 50


async def test_a_server_that_does_not_read_cannot_hold_up_the_end() -> None:
    async with (
        recorder() as server,
        started("--server", server.address, "--rate", "max") as program,
    ):
        server.stop_reading()
        await program.line_with(" 0 ticks/s")
        program.process.terminate()
        result = await program.end()
    assert (result.code, result.errors) == (0, "")
    assert any(line.startswith("cut off ") for line in result.lines)


async def test_output_that_nobody_reads_ends_nothing() -> None:
    async with (
        recorder() as server,
        started("--server", server.address, "--duration", 2.5, "--rate", 100) as program,
    ):
        await program.line_with("connected")
        assert program.process.stdout is not None
        # What head -2 does.
        program.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        assert await program.process.wait() == 0
        assert program.process.stderr is not None
        assert await program.process.stderr.read() == b""
    assert len(server.payloads) == 250
