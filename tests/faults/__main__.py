"""Run schedules of faults: ``python -m tests.faults --seeds 200``, or one: ``--seed 17``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tests.faults.run import Faults


def main() -> int:
    """Return 1 if a schedule gave another outcome than a run without faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--mode", choices=("sessions", "frames"), default="sessions")
    parser.add_argument("--seeds", type=int, default=10, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no more after so long")
    args = parser.parse_args()
    seeds = range(args.first, args.first + args.seeds) if args.seed is None else [args.seed]
    return asyncio.run(_run(args.mode, seeds, args.seconds))


async def _run(mode: str, seeds: range | list[int], seconds: float) -> int:
    faults, began, failed, done = Faults(mode), time.monotonic(), 0, 0
    for seed in seeds:
        if time.monotonic() - began > seconds:
            break
        wrong = await faults.check(seed)
        done += 1
        if wrong:
            failed += 1
            print(f"seed {seed} failed; again: python -m tests.faults --mode {mode} --seed {seed}")
            print(*(f"  {line}" for line in wrong[:40]), sep="\n", flush=True)
    print(f"{mode}: {done} schedules, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
