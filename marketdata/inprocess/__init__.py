"""The calls of grpc.aio between two services of one process: bytes in, bytes out, no socket."""

from __future__ import annotations

from marketdata.inprocess.channel import InProcessChannel
from marketdata.inprocess.server import InProcessServer

__all__ = ["InProcessChannel", "InProcessServer"]
