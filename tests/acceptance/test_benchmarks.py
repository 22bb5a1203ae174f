"""The benchmarks run, check what they measured, and write what they say."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from benchmarks import nats, rabbitmq
from benchmarks.frames import Market
from benchmarks.harness import WrongResult
from benchmarks.ingest import EndOfRun, Producer
from benchmarks.pipeline import check_bars, check_states, run_backend
from benchmarks.publish import PAGE, newest, publish
from benchmarks.report import Line
from benchmarks.results import HISTORY, read_lines
from marketdata.timestamps import NS_PER_S
from tests.doubles.trades import ROOT

pytestmark = pytest.mark.alone

Lines = dict[str, Line]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One quick run of everything."""
    path = tmp_path_factory.mktemp("benchmarks") / "results.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--markdown", "--output", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    results: dict[str, Any] = json.loads(path.read_text())
    return results | {"out": done.stdout}


@pytest.fixture
def lines(run: dict[str, Any]) -> Lines:
    return {line.key: line for line in read_lines(run)}


def test_a_run_has_one_table_with_every_line(run: dict[str, Any], lines: Lines) -> None:
    assert {"commit", "measured", "mode", "machine", "skipped", "lines", "details"} <= run.keys()
    assert len(lines) == len(run["lines"]) > 40
    for line in lines.values():
        assert f"| {' | '.join(line.cells())} |" in run["out"]


def test_the_loops_are_slower_than_a_copy_and_faster_than_the_services(lines: Lines) -> None:
    service = lines["ingest/500/1/ordered/steady"].value
    for name in ("ingest", "aggregator"):
        loop = lines[f"kernel/{name}/500"]
        assert loop.limit is not None
        assert service < loop.value < loop.limit


def test_ingest_is_measured_late_and_in_order_over_one_connection_and_many(lines: Lines) -> None:
    one_by_one = lines["message/ticks"].value
    for key in ("500/1/ordered", "500/10/late", "5000/1/ordered"):
        for phase in ("steady", "seconds"):
            line = lines[f"ingest/{key}/{phase}"]
            assert line.message == one_by_one < line.value
            assert "load" in line.note


def test_every_tick_has_a_latency_at_every_endpoint(run: dict[str, Any], lines: Lines) -> None:
    for each in run["details"]["latency"]["endpoints"]:
        latency = each["latency"]
        # A tick counts once on the Watch stream, and once for the client that follows its symbol.
        assert latency["count"] == sum(latency["histogram_ms"].values()) == each["rate"]
        assert 0 < latency["p50_ms"] <= latency["p99_ms"] <= latency["max_ms"]
        line = lines[f"latency/{each['endpoint']}/{each['rate']}/p99"]
        assert line.value == latency["p99_ms"]


def test_bars_close_after_their_time_and_what_that_costs_is_told(lines: Lines) -> None:
    for state in ("early", "final"):
        assert 0 < lines[f"bars/1s/{state}/p50"].value <= lines[f"bars/1s/{state}/p99"].value
    assert lines["bars/engine/500"].value > 0


def test_fan_out_stalled_readers_rest_and_the_store_are_in_it(lines: Lines) -> None:
    assert lines["fanout/100"].value > 0 < lines["fanout/100/per-core"].value
    assert lines["stalled/alone"].value > 0
    assert lines["stalled/beside"].value > 0
    assert lines["rest/32"].message == lines["message/gets"].value
    assert lines["store/p50"].value <= lines["store/p99"].value


def test_the_log_is_measured_with_acks_starts_and_checkpoints(lines: Lines) -> None:
    for mode in ("off", "interval", "no-checkpoint", "batch"):
        assert lines[f"durable/flood/{mode}"].value > 0
    for endpoint in ("Watch", "STOMP"):
        for mode in ("off", "interval"):
            p50, p99 = (lines[f"durable/latency/{endpoint}/{mode}/{p}"] for p in ("p50", "p99"))
            assert 0 < p50.value <= p99.value
    for key in ("without", "given", "replay"):
        assert lines[f"recovery/flood/{key}"].value > 0
    assert "checkpoints of" in lines["recovery/lag/beside"].note
    for way in ("send", "send_many", "send_columns"):
        assert lines[f"producers/{way}"].value > 0


def test_peers_are_measured_where_they_are_and_named_where_they_are_not(
    run: dict[str, Any], lines: Lines
) -> None:
    for name, module, key in (
        ("rabbitmq", rabbitmq, "rabbitmq/100"),
        ("nats", nats, "nats/1"),
        ("jetstream", nats, "jetstream/nats"),
    ):
        if module.is_installed():
            assert lines[key].value > 0
        else:
            assert "is not installed" in run["skipped"][name]
            assert key not in lines


def test_a_run_is_published_as_history_tables_and_plot(run: dict[str, Any], tmp_path: Path) -> None:
    copytree(ROOT / "docs", tmp_path / "docs")
    kept, page, plot = publish(run, tmp_path)
    assert kept.parent == tmp_path / HISTORY
    assert newest(tmp_path)["lines"] == run["lines"]
    assert page == tmp_path / PAGE
    assert f"Commit `{run['commit']}`" in page.read_text()
    assert plot.read_text().lstrip().startswith("<?xml")


async def test_one_tick_too_many_or_too_few_is_found() -> None:
    """The check of the totals is not one that always passes."""
    market = Market(20, 2)
    start_ns = (time.time_ns() // NS_PER_S // 3600 - 1) * 3600 * NS_PER_S
    async with run_backend() as backend:
        end = EndOfRun(backend)
        await end.start()
        producer = Producer(backend, market, end)
        await producer.send(market.opening(start_ns))
        sent = await producer.send(market.ticks(1_000, start_ns + NS_PER_S, 500, 0.01))
        producer.stop()
        await end.stop()
        assert sent["ticks"] == 1_002
        await check_states(backend.stub, market.totals)
        assert await check_bars(backend.stub, market.totals, start_ns - NS_PER_S, 1_000) == 21
        market.totals.volumes[3] += 1
        with pytest.raises(WrongResult, match=market.symbols[3]):
            await check_states(backend.stub, market.totals)
        with pytest.raises(WrongResult, match=f"bars of {market.symbols[3]}"):
            await check_bars(backend.stub, market.totals, start_ns - NS_PER_S, 1_000)
