"""Run Centrifugo, where it is installed, with clients of its JSON protocol.

It only routes: the same states go in and out, see :mod:`benchmarks.peer_senders`. Install it with
``go install github.com/centrifugal/centrifugo/v6@latest``.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from shutil import which

from benchmarks.harness import Service
from benchmarks.peer_senders import open_centrifugo, text_message
from benchmarks.rabbitmq import free_ports, listens
from benchmarks.watching import WatchingClient

PROGRAM = "centrifugo"
START_S = 20.0
# Nothing is asked of clients but to read. A client may have as much waiting as it likes: the load
# decides then, not a disconnect.
CONFIG = {
    "client": {
        "insecure": True,
        "ping_interval": "3600s",
        "pong_timeout": "60s",
        "queue_max_size": 1 << 30,
    },
    "channel": {
        "without_namespace": {
            "allow_subscribe_for_anonymous": True,
            "allow_subscribe_for_client": True,
            "allow_publish_for_anonymous": True,
            "allow_publish_for_client": True,
        }
    },
    "log": {"level": "error"},
}


def find_program() -> str | None:
    """Return where it is installed: on the path, or where Go puts programs."""
    return which(PROGRAM) or which(PROGRAM, path=str(Path.home() / "go" / "bin"))


@asynccontextmanager
async def run_centrifugo(program: str) -> AsyncIterator[Service]:
    """Run it on a free port of loopback for the time of the context."""
    (port,) = free_ports(1)
    server = {"address": "127.0.0.1", "port": port}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps({**CONFIG, "http_server": server}))
        process = await asyncio.create_subprocess_exec(program, "-c", str(file), cwd=folder)
        try:
            async with asyncio.timeout(START_S):
                while not await listens(port):
                    if process.returncode is not None:
                        raise RuntimeError(f"Centrifugo ended with {process.returncode}")
                    await asyncio.sleep(0.1)
            yield Service(process.pid, port)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


class CentrifugoWatcher(WatchingClient):
    """Follow symbols, each a channel."""

    # Of a push with a publication: the braces of data, pub, push and the whole.
    END = b"}}}}"

    def begin(self) -> bytes:
        """Subscribe."""
        open_centrifugo(self.socket)
        symbols: Sequence[str] = self.arrivals.symbols
        for number, symbol in enumerate(symbols, 2):
            command = {"id": number, "subscribe": {"channel": symbol}}
            self.socket.sendall(text_message(json.dumps(command).encode()))
        self._rest = self.read_until(b'{"id":%d,' % (len(symbols) + 1))
        return b""
