"""A producer in C++, written from the page and the .proto files alone."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from tests.doubles.processes import bound
from tests.doubles.restarts import run_killed_ingest

SOURCE = Path(__file__).parent / "cpp" / "producer.cpp"
TIMEOUT_S = 120
COUNT = 400_001
FIRST_NS = time.time_ns() - 3600 * 10**9


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no g++")
    import subprocess

    path = tmp_path_factory.mktemp("cpp") / "producer"
    flags = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror")
    subprocess.run([compiler, *flags, "-o", path, SOURCE], check=True, timeout=TIMEOUT_S)
    return path


async def test_a_killed_ingest_loses_and_doubles_nothing_of_a_producer_in_cpp(
    program: Path,
) -> None:
    async with asyncio.timeout(TIMEOUT_S), run_killed_ingest() as (ingest, totals):
        producer = await asyncio.create_subprocess_exec(
            *bound(str(program), "127.0.0.1", str(ingest.port), "cpp-1", str(COUNT), str(FIRST_NS)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert producer.stdout is not None
        assert await producer.stdout.readline() == b"session 1 goes on after 0\n"
        for _ in range(2):
            await asyncio.sleep(0.2)
            await ingest.kill()
        output, _ = await producer.communicate()
        assert producer.returncode == 0
        *sessions, last = output.decode().splitlines()
        assert last.startswith(f"acked {COUNT}, rejected ")
        # At least the first one was killed in the middle.
        assert 0 < int(sessions[0].removeprefix("session 2 goes on after ")) < COUNT

        symbols = [f"CPP{place}" for place in range(7)]
        sent = [n for n in range(1, COUNT + 1) if n % 1_000]
        own = [[n for n in sent if n % 7 == place] for place in range(7)]
        expected = {symbols[place]: (len(n), sum(n)) for place, n in enumerate(own)}
        assert await totals.aggregates(*symbols) == expected
        assert (await totals.status()).accepted == len(sent)


async def test_a_refused_producer_says_why(program: Path) -> None:
    async with asyncio.timeout(TIMEOUT_S), run_killed_ingest() as (ingest, _):
        producer = await asyncio.create_subprocess_exec(
            *bound(str(program), "127.0.0.1", str(ingest.port), "not an id", "1", str(FIRST_NS)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, problem = await producer.communicate()
    assert (producer.returncode, problem) == (1, b"refused: invalid_producer_id\n")
