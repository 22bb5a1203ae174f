"""Put a run into the documentation: its history file, its tables and its plot.

``python -m benchmarks.publish`` does so again with the newest file of the history, for when the
plot or the text of the tables has changed. Nothing is copied by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks.plot import draw
from benchmarks.report import Line, markdown_table, number, rows_of
from benchmarks.results import HISTORY, ROOT, read_lines, write_json

PAGE = Path("docs") / "performance.md"
PLOT = Path("docs") / "images" / "performance.svg"
PICTURE = f"![Throughput, latency and fan-out of the same run](images/{PLOT.name})"
# The details that the plot needs; they are small.
KEPT_DETAILS = ("latency",)

Lines = dict[str, Line]


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise, and how its row is read from the lines."""

    what: str
    at_least: str
    beyond: str
    # Returns the result in words, and whether it keeps the promise.
    read: Callable[[Lines], tuple[str, bool]]


def _throughput(lines: Lines) -> tuple[str, bool]:
    line = lines["ingest/500/1/ordered/seconds"]
    ratio = line.value / lines["message/ticks"].value
    return f"{number(line.value)} ticks/s, {number(ratio)} x", line.value >= 3e6 and ratio >= 300


def _growth(lines: Lines) -> tuple[str, bool]:
    ratios = {
        phase: lines[f"ingest/500/1/ordered/{phase}"].value
        / lines[f"ingest/50000/1/ordered/{phase}"].value
        for phase in ("steady", "seconds")
    }
    text = f"{ratios['steady']:.2f} x within a second, {ratios['seconds']:.2f} x with their ends"
    return text, max(ratios.values()) <= 2


def _latency(lines: Lines) -> tuple[str, bool]:
    p50, p99 = (lines[f"latency/STOMP/10000/{name}"].value for name in ("p50", "p99"))
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms", p50 <= 1 and p99 <= 5


def _deliveries(lines: Lines) -> tuple[str, bool]:
    ours = lines["fanout/1000/per-core"].value
    text = f"{number(ours)} per core, {number(lines['fanout/1000'].value)}/s in all"
    peer = lines.get("rabbitmq/1000/per-core")
    if peer is None:
        return f"{text}; RabbitMQ was not there", ours >= 1e5
    return f"{text}; RabbitMQ {number(peer.value)} per core", ours >= max(1e5, peer.value)


def _idle(lines: Lines) -> tuple[str, bool]:
    value = lines["fanout/idle"].value
    return f"{value:.1f} KB", value <= 20


def _stalled(lines: Lines) -> tuple[str, bool]:
    line = lines["stalled/change"]
    return f"{line.value:+.1f} % ({line.note})", line.value < 10


def _rest(lines: Lines) -> tuple[str, bool]:
    value = lines["rest/32/per-core"].value
    text = f"{number(value)} per core, {number(lines['rest/32'].value)}/s in all"
    return text, value >= 3_000


PROMISES = (
    Promise(
        "single-tick v1 frames, TCP to aggregated state with bars, 500 symbols",
        "3,000,000 ticks/s, and 300 x one message per tick",
        "10,000,000",
        _throughput,
    ),
    Promise("cost per tick as symbols grow from 500 to 50,000", "at most 2 x", "flat", _growth),
    Promise(
        "tick to STOMP client, 10,000 ticks/s over 500 symbols, 100 clients on 5 each",
        "p50 1 ms, p99 5 ms",
        "p99 2 ms",
        _latency,
    ),
    Promise(
        "deliveries to 1,000 STOMP clients, `policy: buffer`",
        "100,000/s per core of the gateway, ahead of RabbitMQ",
        "300,000",
        _deliveries,
    ),
    Promise("memory per idle STOMP client", "at most 20 KB", "10 KB", _idle),
    Promise("10 % of 1,000 clients never read: p99 of the others", "+10 %", "", _stalled),
    Promise("REST `GET .../{symbol}`, limiter off", "3,000/s per core", "", _rest),
)


def promises_table(lines: Lines) -> str:
    """Return the promises beside the results."""
    rows = [["what", "at least", "as far as it goes", "measured", ""]]
    for promise in PROMISES:
        try:
            text, is_kept = promise.read(lines)
            verdict = "yes" if is_kept else "**no**"
        except KeyError:
            text, verdict = "not measured", ""
        rows.append([promise.what, promise.at_least, promise.beyond, text, verdict])
    return markdown_table(rows)


def describe(results: dict[str, Any]) -> str:
    """Return the machine and the date of the run, and the parts that were left out."""
    machine = results["machine"]
    said = (
        f"Commit `{results['commit']}` in a {results['mode']} run of {results['measured'][:10]}: "
        f"{machine['cores']} cores of {machine['cpu']}, {machine['system']}, "
        f"Python {machine['python']}, grpcio {machine['grpcio']}, protobuf {machine['protobuf']}; "
        f"load before the run {machine['load_before']}."
    )
    return fill(" ".join([said, *(f"{why}." for why in results["skipped"].values())]), 100)


def fill_page(page: str, parts: dict[str, str]) -> str:
    """Put each part between the comments that name it.

    Raises:
        ValueError: the page has no place for a part.
    """
    for name, text in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page has no place for {name}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def show(results: dict[str, Any], root: Path) -> list[Path]:
    """Write the tables and the plot."""
    found = read_lines(results)
    by_key = {line.key: line for line in found}
    parts = {
        "machine": describe(results),
        "promises": f"{promises_table(by_key)}\n\n{PICTURE}",
        "measured": markdown_table(rows_of(found)),
    }
    page, plot = root / PAGE, root / PLOT
    page.write_text(fill_page(page.read_text(), parts))
    plot.parent.mkdir(exist_ok=True)
    draw(results, by_key, plot)
    return [page, plot]


def publish(results: dict[str, Any], root: Path = ROOT) -> list[Path]:
    """Keep a run in the history, and show it."""
    details = {
        name: results["details"][name] for name in KEPT_DETAILS if name in results["details"]
    }
    kept = results | {"details": details}
    path = root / HISTORY / f"{results['measured'][:10]}-{results['commit']}.json"
    write_json(path, kept)
    return [path, *show(kept, root)]


def newest(root: Path = ROOT) -> dict[str, Any]:
    """Return the newest run of the history.

    Raises:
        SystemExit: there is none.
    """
    runs = [json.loads(path.read_text()) for path in (root / HISTORY).glob("*.json")]
    if not runs:
        raise SystemExit("the history is empty: python -m benchmarks --full --publish")
    return max(runs, key=lambda run: str(run["measured"]))


def main() -> None:
    """Show the newest run again."""
    for path in show(newest(), ROOT):
        print(f"written: {path}")


if __name__ == "__main__":
    main()
