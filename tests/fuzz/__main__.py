"""Fuzz the services for minutes: ``python -m tests.fuzz --minutes 5 --seed 1``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from random import SystemRandom

from tests.fuzz.harness import BATCH, Broken, fuzzing


async def main() -> int:
    """Run until the time is over or something breaks; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**9))
    parser.add_argument("--first", type=int, default=0, help="index of the first case")
    parser.add_argument("--count", type=int, help="how many cases, instead of the time")
    given = parser.parse_args()
    end = time.monotonic() + given.minutes * 60
    last = given.first + given.count if given.count else sys.maxsize
    print(f"seed {given.seed}", flush=True)
    try:
        async with fuzzing() as fuzz:
            first = given.first
            await fuzz.run(given.seed, first, min(BATCH * 3, last - first))
            fuzz.mark()
            first += BATCH * 3
            while first < last and time.monotonic() < end:
                await fuzz.run(given.seed, first, min(BATCH, last - first))
                first += BATCH
            print(f"{sum(fuzz.sent.values()):,} inputs: {dict(fuzz.sent)}", flush=True)
            await fuzz.check_leaks()
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 1
    print("nothing broke")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
