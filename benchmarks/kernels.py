"""Measure the compiled loops alone, against a copy of the same bytes.

They are measured in seconds of CPU: one thread that never waits, on a machine that may be shared.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aggregator.app import Aggregator
from aggregator.settings import AggregatorSettings
from benchmarks.encoding import measure_encoders
from benchmarks.frames import FrameWriter, Market
from benchmarks.harness import WrongResult
from benchmarks.latencies import Spread
from benchmarks.report import Line, Outcome
from ingest.parser import READ_SIZE, FrameParser, ProducerStream
from ingest.reports import FeedState
from ingest.ring import BatchRing
from marketdata.timestamps import NS_PER_S
from marketdata.validation import TickRules
from marketdata.warm import load_kernels

BATCH_TICKS = 10_000
NAME = b"benchmark"
_NO_MARKS: Mapping[str, Any] = MappingProxyType({})
# The ticks of a crypto feed: sizes with decimals, and trades with ids.
_MARKS: dict[str, Mapping[str, Any]] = {
    "decimals": {"decimals": 8},
    "decimals and ids": {"decimals": 8, "has_ids": True},
}


@dataclass(frozen=True, slots=True)
class Passed:
    """The results of one pass over the ticks."""

    ingest_s: float
    memcpy_s: float
    batches: list[bytes]
    accepted: int


def run_ingest(frames: memoryview, now_ns: int) -> Passed:
    """Run the loop of ingest over reads of the usual size."""
    ring = BatchRing(
        producer_id=NAME.decode(), first_sequence=1, batch_ticks=BATCH_TICKS, max_batches=1
    )
    rules = TickRules(timestamp_unit="auto", max_future_skew_s=60)
    parser = FrameParser(rules, ring, FeedState(0), max_frame_size=1_000_000)
    stream = ProducerStream(parser)
    seconds = copying_s = 0.0
    batches = []
    for start in range(0, len(frames), READ_SIZE):
        read = frames[start : start + READ_SIZE]
        began = time.thread_time()
        parser.window[: len(read)] = read
        copied = time.thread_time()
        stream.receive_data(len(read), now_ns)
        seconds += time.thread_time() - copied
        copying_s += copied - began
        if start + READ_SIZE >= len(frames):
            # No more ticks fill the last batch.
            ring.close_batch()
        while (batch := ring.next_unsent()) is not None:
            batches.append(batch.data)
            ring.acknowledge(batch.last_sequence)
    return Passed(seconds, copying_s, batches, stream.accepted)


def run_aggregator(aggregator: Aggregator, batches: list[bytes], now_ns: int) -> float:
    """Apply batches to the state; return the seconds of CPU.

    Raises:
        WrongResult: it did not accept them all.
    """
    began = time.thread_time()
    for batch in batches:
        aggregator.market.publish_batch(batch, now_ns)
    return time.thread_time() - began


def measure_symbols(
    symbols: int, ticks: int, passes: int, marks: Mapping[str, Any] = _NO_MARKS
) -> dict[str, Any]:
    """Measure both loops, with so many symbols, in the steady state of one second.

    Args:
        symbols: how many.
        ticks: in one pass.
        passes: how many times.
        marks: what each tick has besides, see :class:`FrameWriter`.

    Raises:
        WrongResult: not every tick was accepted, or the state is not that of what went in.
    """
    market = Market(symbols, 1)
    market.writer = FrameWriter(market.symbols, **marks)
    aggregator = Aggregator(AggregatorSettings(store="off", port=0))
    now_ns = time.time_ns() // NS_PER_S * NS_PER_S
    start_ns = now_ns - 3600 * NS_PER_S
    # The first part opens the symbols, and is not measured.
    parts = [market.opening(start_ns)[0]]
    share_ns = NS_PER_S // (passes + 1)
    for number in range(passes):
        at_ns = start_ns + (number + 1) * share_ns
        parts += market.ticks(ticks, at_ns, ticks * NS_PER_S // share_ns)
    loops, copies, applying, sizes = [], [], [], []
    for number, part in enumerate(parts):
        frames = market.writer.write(part)
        passed = run_ingest(frames, now_ns)
        if passed.accepted != len(part):
            raise WrongResult(f"sent {len(part)} ticks, {passed.accepted} were accepted")
        # Each pass numbers from 1, as a producer of its own would.
        batches = [each.replace(NAME, b"bench%04d" % number, 1) for each in passed.batches]
        applied_s = run_aggregator(aggregator, batches, now_ns)
        if part is not parts[0]:
            loops.append(len(part) / passed.ingest_s)
            copies.append(len(part) / passed.memcpy_s)
            applying.append(len(part) / applied_s)
            sizes.append(len(frames) / len(part))
    check(aggregator, market, marks.get("decimals", 0))
    return {
        "symbols": symbols,
        "bytes_per_tick": sizes[-1],
        "ingest": Spread(tuple(loops)).to_dict(),
        "aggregator": Spread(tuple(applying)).to_dict(),
        "memcpy": Spread(tuple(copies)).to_dict(),
    }


def check(aggregator: Aggregator, market: Market, decimals: int = 0) -> None:
    """Compare the state of every symbol with what went in; volumes had so many decimals.

    Raises:
        WrongResult: they differ.
    """
    totals = market.totals
    sent = zip(totals.symbols, totals.trades.tolist(), totals.volumes.tolist(), strict=True)
    for symbol, trades, volume in sent:
        state = aggregator.market.book.state(symbol)
        total = state.volume * 10 ** (decimals - state.volume_decimals)
        if (state.trades, total) != (trades, volume):
            raise WrongResult(
                f"{symbol} has {state.trades} trades with {total}, sent were {trades} with {volume}"
            )


def loop_lines(found: dict[str, Any], key: str, of: str) -> list[Line]:
    """Return the lines of the report for what :func:`measure_symbols` found."""
    limit = found["memcpy"]["median"]
    return [
        Line(
            f"kernel/{name}/{key}",
            f"{what}, {of}",
            found[name]["median"],
            "ticks/s",
            limit,
            "memcpy",
            note=f"{1e9 / found[name]['median']:.0f} ns per tick",
        )
        for name, what in (
            ("ingest", "loop of ingest: frames to batches"),
            ("aggregator", "loop of the aggregator: batch to state and bars"),
        )
    ]


async def measure(*, full: bool) -> Outcome:
    """Measure both loops."""
    load_kernels()
    ticks, passes = (2_000_000, 5) if full else (200_000, 1)
    lines: list[Line] = []
    details = []
    for symbols in (10, 500, 50_000) if full else (500,):
        found = measure_symbols(symbols, ticks, passes)
        details.append(found)
        lines += loop_lines(found, str(symbols), f"{symbols:,} symbols")
    for what, marks in _MARKS.items():
        found = measure_symbols(500, ticks, passes, marks)
        details.append(found)
        lines += loop_lines(found, f"500/{what.replace(' ', '-')}", f"500 symbols, with {what}")
    encoders = []
    for symbols in (500, 50_000) if full else (500,):
        written = measure_encoders(symbols, passes)
        encoders.append(written)
        for name, what in (
            ("states", "states to the bytes of Watch"),
            ("bars", "closed bars to the bytes of Watch"),
            ("open_bars", "open bars to the bytes of Watch"),
        ):
            rate = written[name]["median"]
            lines.append(
                Line(
                    f"kernel/{name}/{symbols}",
                    f"{what}, {symbols:,} symbols",
                    rate,
                    "states/s",
                    written[f"memcpy_{name}"]["median"],
                    "memcpy",
                    note=f"{1e9 / rate:.0f} ns per state",
                )
            )
    details_of = {
        "passes": passes,
        "ticks": ticks,
        "symbols": details,
        "encoders": encoders,
    }
    return Outcome(lines, details_of)
