"""Push trades of the symbol ACKED, none lost or doubled: acked_producer.py [HOST:PORT] [ID].

Each run with the same id goes on where the one before it ended.
"""

from __future__ import annotations

import asyncio
import sys
import time

from marketdata.producer import Producer, RejectedTick


def show_rejected(sequence: int, reason: str, tick: RejectedTick) -> None:
    """Print a tick that the server did not take."""
    print(f"tick {sequence} was rejected: {reason}: price {tick.price}", flush=True)


async def main(address: str, producer_id: str) -> None:
    """Send five good trades and a bad one."""
    async with Producer(address, producer_id, on_reject=show_rejected) as producer:
        print(f"the server has {producer.last_sequence} ticks of {producer_id}", flush=True)
        for price in (150.25, 150.75, -1.0, 149.5, 150.0, 151.5):
            await producer.send("ACKED", price, 100, time.time_ns())
    print(f"sent {producer.sent} = acked {producer.acked} + rejected {producer.rejected}")


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    asyncio.run(main(given.get(0, "localhost:50050"), given.get(1, "example")))
