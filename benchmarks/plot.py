"""Draw a run: throughput, latency and fan-out, each beside its limit and its peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = dict[str, Line]
OURS, PEERS, LIMITS = "#1f6fb2", "#b0b0b0", "#d9822b"


def _sorted_keys(lines: Lines, prefix: str, suffix: str) -> list[tuple[int, Line]]:
    # By the number that is the second piece of the key.
    return sorted(
        (int(key.split("/")[1]), line)
        for key, line in lines.items()
        if key.startswith(prefix) and key.endswith(suffix) and key.split("/")[1].isdigit()
    )


def draw_ingest(axes: Axes, lines: Lines) -> None:
    """Draw ticks per second into the state, by symbols, beside one message each and NATS."""
    bars = [("gRPC, one\nby one", lines["message/ticks"].value, PEERS)]
    if "nats/1" in lines:
        bars.append(("NATS,\nrouted only", lines["nats/1"].value, PEERS))
    limit = 0.0
    for symbols, line in _sorted_keys(lines, "ingest/", "/1/ordered/seconds"):
        bars.append((f"{symbols:,}\nsymbols", line.value, OURS))
        limit = line.limit or limit
    for at, (_, value, color) in enumerate(bars):
        axes.bar(at, value, color=color)
        axes.annotate(f"{value / 1e6:.2g} M", (at, value), ha="center", va="bottom")
    axes.axhline(limit, color=LIMITS, linestyle="--", label="loopback")
    axes.set_xticks(range(len(bars)), [name for name, _, _ in bars])
    axes.set_yscale("log")
    axes.set_title("ticks/s, TCP to state and bars")
    axes.legend(loc="lower right")


def draw_latency(axes: Axes, details: dict[str, Any]) -> None:
    """Draw the share of ticks that have arrived after each time."""
    endpoints = details["latency"]["endpoints"]
    rates = sorted({each["rate"] for each in endpoints})
    styles = dict(zip(rates, (":", "-", "--"), strict=False))
    colors = {"Watch": LIMITS, "STOMP": OURS, "SSE": "#3a9d5d"}
    for each in endpoints:
        histogram = each["latency"]["histogram_ms"]
        total, seen, xs, ys = sum(histogram.values()), 0, [], []
        for bound, count in histogram.items():
            seen += count
            xs.append(float(bound))
            ys.append(seen / total * 100)
        label = f"{each['endpoint']}, {each['rate']:,}/s"
        axes.plot(xs, ys, styles[each["rate"]], color=colors[each["endpoint"]], label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks([2.0**power for power in range(-3, 9, 2)])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("ms, up to each bound")
    axes.set_title("% of ticks that have arrived")
    axes.legend(fontsize="small")


def draw_fanout(axes: Axes, lines: Lines) -> None:
    """Draw deliveries per core, by clients."""
    limit = 0.0
    for prefix, name, color in (("rabbitmq/", "RabbitMQ", PEERS), ("fanout/", "gateway", OURS)):
        found = _sorted_keys(lines, prefix, "/per-core")
        if not found:
            continue
        axes.plot(
            [clients for clients, _ in found],
            [line.value for _, line in found],
            "o-",
            color=color,
            label=name,
        )
        limit = found[-1][1].limit or limit
    axes.axhline(lines["limit/sends"].value, color=LIMITS, linestyle=":", label="one send() each")
    axes.axhline(limit, color=LIMITS, linestyle="--", label="loopback")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("STOMP clients")
    axes.set_title("deliveries per second of the server's CPU")
    axes.legend()


def draw(results: dict[str, Any], lines: Lines, path: Path) -> None:
    """Write the plot, the same bytes for the same results."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    ingest, latency, fanout = figure.subplots(1, 3)
    draw_ingest(ingest, lines)
    draw_latency(latency, results["details"])
    draw_fanout(fanout, lines)
    for axes in (ingest, latency, fanout):
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": "benchmarks"}):
        figure.savefig(path, format=path.suffix[1:], metadata={"Date": None})
