"""Run schedules of faults: ``python -m tests.faults --seeds 200``, or one: ``--seed 17``."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.doubles.trades import REAL_TRADES
from tests.faults.disk import has_disks
from tests.faults.run import Faults, open_faults

# A failing schedule differs in many bars; the first ones say why.
_MAX_LINES = 20


class Checked(NamedTuple):
    """The seeds of the schedules that ran."""

    done: list[int]
    failed: list[int]


def main() -> int:
    """Return 0 if each schedule gave what a run without faults gives."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    modes = ("sessions", "frames", "standalone")
    parser.add_argument("--mode", choices=modes, default="sessions")
    parser.add_argument("--seeds", type=int, default=10, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no more after so long")
    parser.add_argument("--verbose", action="store_true", help="tell of each schedule")
    parser.add_argument(
        "--without-log",
        action="store_true",
        help="run without a tick log, and return 1 if a schedule is found to be right",
    )
    args = parser.parse_args()
    if not REAL_TRADES.exists():
        parser.error(f"the real trades are not at {REAL_TRADES}")
    small_disk = has_disks()
    if not small_disk:
        print("no full disks: mounting one needs root; a seed has other faults than with them")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return asyncio.run(_run(args, Path(folder), small_disk=small_disk))


async def _run(args: argparse.Namespace, folder: Path, *, small_disk: bool) -> int:
    seeds = range(args.first, args.first + args.seeds) if args.seed is None else [args.seed]
    has_log = not args.without_log
    try:
        async with open_faults(args.mode, folder, small_disk=small_disk, has_log=has_log) as faults:
            checked = await _check(faults, args.mode, seeds, args.seconds, verbose=args.verbose)
    except asyncio.CancelledError:
        # Services and disks are gone. The end of the event loop was seen to hang after this.
        print("interrupted", flush=True)
        shutil.rmtree(folder)
        os._exit(130)
    if args.without_log:
        print("without a tick log, ticks must be lost, and were found to be:", bool(checked.failed))
        return 0 if checked.failed == checked.done else 1
    return 1 if checked.failed or not checked.done else 0


async def _check(
    faults: Faults, mode: str, seeds: Iterable[int], seconds: float, *, verbose: bool
) -> Checked:
    task = asyncio.current_task()
    if task is not None:
        # Services and disks are ended as after Ctrl-C.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    began, checked = time.monotonic(), Checked([], [])
    for seed in seeds:
        if time.monotonic() - began > seconds:
            break
        starts = time.monotonic()
        wrong = await faults.check(seed)
        checked.done.append(seed)
        if wrong:
            checked.failed.append(seed)
            print(f"seed {seed} failed; again: python -m tests.faults --mode {mode} --seed {seed}")
            print(*(f"  {line}" for line in wrong[:_MAX_LINES]), sep="\n", flush=True)
        elif verbose:
            print(f"seed {seed}: {time.monotonic() - starts:.1f} s", flush=True)
    took = time.monotonic() - began
    done, failed = len(checked.done), len(checked.failed)
    print(
        f"{mode}: {done} schedules in {took:.0f} s, {failed} failed: {checked.failed}", flush=True
    )
    return checked


if __name__ == "__main__":
    sys.exit(main())
