"""The benchmark runs, checks what it measured, and writes what it says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson

from tests.doubles.trades import ROOT


async def run_quickly(module: str, path: Path) -> tuple[dict[str, Any], str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"benchmarks.{module}", "--quick", "--output", str(path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, _ = await process.communicate()
    assert process.returncode == 0
    results = orjson.loads(await asyncio.to_thread(path.read_bytes))
    assert {"commit", "machine", module} == results.keys()
    return results[module], out.decode()


async def test_the_fan_out_reaches_everyone_while_some_do_not_read(tmp_path: Path) -> None:
    measured, out = await run_quickly("fanout", tmp_path / "results.json")
    # 1,000 ticks/s on 20 symbols with 2 or 3 clients each.
    assert measured["deliveries_per_s"][0] > 1_000
    for phase in ("everyone_reads", "others_while_stalled"):
        (latencies,) = measured[phase]
        assert 0 < latencies["p50_ms"] <= latencies["p99_ms"]
    assert f"{measured['deliveries_per_s'][0]:,.0f} deliveries/s" in out


async def test_a_quick_benchmark_measures_both_ways_in_and_both_latencies(tmp_path: Path) -> None:
    measured, out = await run_quickly("pipeline", tmp_path / "results.json")
    assert (
        measured["tcp_ticks_per_s"]["median"]
        > measured["grpc_message_per_tick_ticks_per_s"]["median"]
    )
    for name in ("watch_latency", "rest_latency"):
        # Every tick of the second was seen.
        assert measured[name]["ticks"] == measured["latency_rate_ticks_per_s"] == 1_000
        assert 0 < measured[name]["p50_ms"] <= measured[name]["p99_ms"] <= measured[name]["max_ms"]
        assert sum(measured[name]["histogram_ms"].values()) == 1_000
    assert f"{measured['tcp_ticks_per_s']['median']:,.0f}" in out


async def test_a_quick_benchmark_of_the_store_goes_by_the_key(tmp_path: Path) -> None:
    measured, out = await run_quickly("bars_store", tmp_path / "results.json")
    assert measured["bars"] == 20_000
    assert 0 < measured["read"]["p50_ms"] <= measured["read"]["p99_ms"]
    assert "USING PRIMARY KEY (symbol=? AND interval=? AND start>?" in out


async def test_a_quick_benchmark_of_ingest_measures_the_loop_and_the_service(
    tmp_path: Path,
) -> None:
    measured, out = await run_quickly("ingest", tmp_path / "results.json")
    (loop,) = measured["kernel"]
    # The loop reads and writes what memcpy only copies.
    assert 0 < loop["ticks_per_s"]["median"] < loop["memcpy"]["median"]
    assert [each["connections"] for each in measured["service"]] == [1, 10]
    for each in measured["service"]:
        assert 0 < each["ticks_per_s"]["median"] < loop["ticks_per_s"]["median"]
    assert f"{loop['ticks_per_s']['median']:,.0f}" in out


async def test_a_quick_benchmark_of_deliveries_counts_them_all(tmp_path: Path) -> None:
    measured, out = await run_quickly("deliveries", tmp_path / "results.json")
    (per_s,) = measured["throughput"]["deliveries_per_s"]
    (per_cpu_s,) = measured["throughput"]["deliveries_per_cpu_s"]
    assert per_s > 10_000
    assert per_cpu_s > 10_000
    assert 0 < measured["idle"]["bytes_per_idle_client"] < 20_000
    assert f"{per_s:,.0f}" in out


async def test_a_quick_benchmark_of_rest_checks_every_answer(tmp_path: Path) -> None:
    measured, out = await run_quickly("rest", tmp_path / "results.json")
    assert [each["connections"] for each in measured["measured"]] == [1, 8]
    for each in measured["measured"]:
        assert each["requests_per_s"] > 0
        assert f"{each['requests_per_cpu_s']:,.0f}" in out


async def test_a_quick_benchmark_measures_any_number_of_workers(tmp_path: Path) -> None:
    measured, out = await run_quickly("shards", tmp_path / "results.json")
    assert [each["workers"] for each in measured.values()] == [1, 2, 4, 1, 2, 4]
    for each in measured.values():
        assert each["ticks_per_s"]["median"] > 0
        assert (each["workers_cpu_ns_per_tick"] > 0) == (each["workers"] > 1)
    assert "each closes a bar each second" in out
