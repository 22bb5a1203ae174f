"""Push a few trades of the symbol DEMO: python producer.py [HOST:PORT] (localhost:50050)."""

from __future__ import annotations

import socket
import struct
import sys
import time

from marketdata.wire.market_data_pb2 import Tick


def encode(tick: Tick) -> bytes:
    """Return a frame: the length in four bytes, big-endian, then the message."""
    payload = tick.SerializeToString()
    return struct.pack(">I", len(payload)) + payload


def main(address: str) -> None:
    """Send five trades, one per second."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        for price in (150.25, 150.75, 149.5, 150.0, 151.5):
            tick = Tick(symbol="DEMO", price=price, volume=100, exchange_timestamp=time.time_ns())
            connection.sendall(encode(tick))
            print(f"sent {tick.volume} {tick.symbol} at {tick.price}", flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "localhost:50050")
