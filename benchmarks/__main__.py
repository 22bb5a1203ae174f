"""Measure everything: one run, one table, one JSON file.

``make bench`` is ``python -m benchmarks --full``. Without ``--full`` a quick run shows that every
part works; its numbers mean little. A wrong answer ends the run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks import (
    bars,
    bars_store,
    checkpoints,
    curve,
    deliveries,
    durable,
    ingest,
    jetstream,
    kernels,
    latency,
    limits,
    messages,
    nats,
    producers,
    rabbitmq,
    reconnect,
    recovery,
    rest,
    stalled,
    tick_log,
)
from benchmarks.limits import MachineLimits
from benchmarks.messages import Messages
from benchmarks.publish import publish
from benchmarks.report import Outcome, markdown_table, rows_of, text_table
from benchmarks.results import RESULTS, Results, write_json

# Each gets the limits of the machine and the results of one message per tick, of the same run.
Part = Callable[[MachineLimits, Messages, bool], Awaitable[Outcome]]
PARTS: dict[str, Part] = {
    "kernels": lambda _limits, _messages, full: kernels.measure(full=full),
    "checkpoints": lambda _limits, _messages, full: checkpoints.measure(full=full),
    "ingest": lambda found, one, full: ingest.measure(found, one.ticks_per_s, full=full),
    "bars": lambda _limits, _messages, full: bars.measure(full=full),
    "nats": lambda found, _messages, full: nats.measure(found, full=full),
    "latency": lambda found, one, full: latency.measure(found, one, full=full),
    "curve": lambda _limits, _messages, full: curve.measure(full=full),
    "fanout": lambda found, one, full: deliveries.measure(found, one.updates_per_cpu_s, full=full),
    "rabbitmq": lambda found, _messages, full: rabbitmq.measure(found, full=full),
    "stalled": lambda _limits, _messages, full: stalled.measure(full=full),
    "reconnect": lambda _limits, _messages, full: reconnect.measure(full=full),
    "rest": lambda found, one, full: rest.measure(found, one, full=full),
    "log": lambda _limits, _messages, full: tick_log.measure(2.0 if full else 0.1),
    "durable": lambda _limits, _messages, full: durable.measure(full=full),
    "recovery": lambda _limits, _messages, full: recovery.measure(full=full),
    "producers": lambda _limits, _messages, full: producers.measure(full=full),
    "jetstream": lambda _limits, _messages, full: jetstream.measure(full=full),
    "store": lambda _limits, _messages, full: bars_store.measure(
        bars_store.FULL if full else bars_store.QUICK
    ),
}


async def run(parts: list[str], *, full: bool) -> Results:
    """Measure the machine, one message per tick, and then the parts, to be compared with both."""
    results = Results("full" if full else "quick")
    found, outcome = limits.measure(full=full)
    _tell("limits", outcome)
    results.add("limits", outcome)
    one_by_one, outcome = await messages.measure(full=full)
    _tell("messages", outcome)
    results.add("messages", outcome)
    for name in parts:
        began = time.perf_counter()
        outcome = await PARTS[name](found, one_by_one, full)
        results.add(name, outcome)
        _tell(f"{name}, {time.perf_counter() - began:.0f} s", outcome)
    return results


def _tell(name: str, outcome: Outcome) -> None:
    print(f"\n{name}")
    if outcome.lines:
        print(text_table(rows_of(outcome.lines)))
    if outcome.skipped:
        print(outcome.skipped)
    sys.stdout.flush()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="some fifteen minutes; only these numbers count"
    )
    parser.add_argument(
        "--quick", action="store_true", help="shows that everything works; the default"
    )
    parser.add_argument("--only", default="", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--output", type=Path, help="the JSON file (benchmarks/results/COMMIT)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown too")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write the history, the table and the plot of docs/performance.md",
    )
    given = parser.parse_args()
    if given.full and given.quick:
        parser.error("either --full or --quick")
    parts = given.only.split(",") if given.only else list(PARTS)
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if given.publish and given.only:
        parser.error("--publish is for whole runs")
    began = time.perf_counter()
    results = asyncio.run(run(parts, full=given.full))
    path = given.output or RESULTS / f"{results.commit}.json"
    whole = results.to_dict()
    write_json(path, whole)
    if given.markdown:
        print(f"\n{markdown_table(rows_of(results.lines))}")
    print(f"\n{time.perf_counter() - began:.0f} s; written to {path.name}")
    if given.publish:
        for each in publish(whole):
            print(f"written: {each}")


if __name__ == "__main__":
    main()
