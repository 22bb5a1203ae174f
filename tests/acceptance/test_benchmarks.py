"""The benchmark runs, checks what it measured, and writes what it says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson

from tests.doubles.trades import ROOT


async def test_a_quick_benchmark_measures_both_ways_in_and_both_latencies(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.pipeline", "--quick", "--output", str(path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, _ = await process.communicate()
    assert process.returncode == 0
    results = orjson.loads(path.read_bytes())
    assert {"commit", "machine", "pipeline"} == results.keys()
    measured = results["pipeline"]
    assert (
        measured["tcp_ticks_per_s"]["median"]
        > measured["grpc_message_per_tick_ticks_per_s"]["median"]
    )
    for name in ("watch_latency", "rest_latency"):
        # Every tick of the second was seen.
        assert measured[name]["ticks"] == measured["latency_rate_ticks_per_s"] == 1_000
        assert 0 < measured[name]["p50_ms"] <= measured[name]["p99_ms"] <= measured[name]["max_ms"]
        assert sum(measured[name]["histogram_ms"].values()) == 1_000
    assert f"{measured['tcp_ticks_per_s']['median']:,.0f}" in out.decode()
