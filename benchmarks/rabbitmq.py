"""Measure RabbitMQ with web-STOMP, where it is installed, with the same clients and bodies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from benchmarks.clients import RABBITMQ
from benchmarks.deliveries import Plan, Server, measure_peer
from benchmarks.harness import Service
from benchmarks.limits import MachineLimits
from benchmarks.report import Outcome
from benchmarks.states import Rounds
from gateway.encoding import aggregate_to_dict, encode_json

# Debian's own wrapper runs the broker as the system's service.
SCRIPT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
EPMD = "/usr/bin/epmd"
START_S = 90.0
STOP_S = 20.0
CONFIG = """
listeners.tcp = none
stomp.listeners.tcp.1 = 127.0.0.1:{stomp}
web_stomp.tcp.ip = 127.0.0.1
web_stomp.tcp.port = {web}
web_stomp.cowboy_opts.max_keepalive = 100000
web_stomp.cowboy_opts.idle_timeout = 3600000
web_stomp.ws_opts.idle_timeout = 3600000
log.console = false
log.file.level = warning
"""


class StompPublisher(Rounds):
    """Publish rounds as the gateway's JSON, over one STOMP connection."""

    def __init__(self, port: int, symbols: Sequence[str]) -> None:
        super().__init__(symbols)
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(
            f"CONNECT\naccept-version:1.2\nhost:/\n{RABBITMQ.login}heart-beat:0,0\n\n\0".encode()
        )
        self._socket.recv(4096)

    def publish(self) -> None:
        """Publish one more state of each symbol."""
        frames = []
        for state in self.make_round():
            body = encode_json(aggregate_to_dict(state))
            head = (
                f"SEND\ndestination:{RABBITMQ.destination}{state.symbol}\n"
                f"content-type:application/json\ncontent-length:{len(body)}\n\n"
            )
            frames.append(head.encode() + body + b"\0")
        self._socket.sendall(b"".join(frames))

    def stop(self) -> None:
        """Disconnect."""
        self._socket.close()


def free_ports(count: int) -> list[int]:
    """Return free ports."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return ports


async def listens(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    # Ends the whole group: the script's shell, the Erlang machine and its helpers.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
                return


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker: its process with the port of web-STOMP, and the port of STOMP."""

    service: Service
    stomp_port: int


@asynccontextmanager
async def run_rabbitmq() -> AsyncIterator[Broker]:
    """Run a broker on loopback only, with its files in a folder of its own."""
    names_port, stomp, web, distribution = free_ports(4)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        plugins, config = home / "enabled_plugins", home / "rabbitmq.conf"
        plugins.write_text("[rabbitmq_stomp,rabbitmq_web_stomp].\n")
        config.write_text(CONFIG.format(stomp=stomp, web=web))
        env = {name: value for name, value in os.environ.items() if "RABBITMQ" not in name}
        env |= {
            "HOME": folder,
            "ERL_EPMD_PORT": str(names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "benchmark@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # So that the script becomes the Erlang machine, and its pid is that one's.
            "RABBITMQ_ALLOW_INPUT": "1",
        }
        silent = asyncio.subprocess.DEVNULL
        # Otherwise the broker starts one that outlives it.
        names = await asyncio.create_subprocess_exec(
            *(EPMD, "-address", "127.0.0.1", "-port", str(names_port)),
            env=env,
            stderr=silent,
            start_new_session=True,
        )
        broker = await asyncio.create_subprocess_exec(
            SCRIPT,
            *("-noinput",),
            env=env,
            stdin=silent,
            stdout=silent,
            stderr=silent,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(START_S):
                while not await listens(web):
                    if broker.returncode is not None:
                        raise RuntimeError(f"RabbitMQ ended with {broker.returncode}")
                    await asyncio.sleep(0.2)
            yield Broker(Service(broker.pid, web), stomp)
        finally:
            await _end(broker)
            await _end(names)


@asynccontextmanager
async def open_rabbitmq(plan: Plan) -> AsyncIterator[Server]:
    """Run a broker, and a publisher of rounds."""
    async with run_rabbitmq() as broker:
        publisher = StompPublisher(broker.stomp_port, [f"D{n:03}" for n in range(plan.symbols)])
        try:
            yield Server(broker.service, publisher, RABBITMQ)
        finally:
            publisher.stop()


def is_installed() -> bool:
    """Whether it can be run here."""
    return which(SCRIPT) is not None and which(EPMD) is not None


async def measure(limits: MachineLimits, *, full: bool) -> Outcome:
    """Measure it where it is installed."""
    if not is_installed():
        return Outcome([], {}, skipped="RabbitMQ is not installed (Debian: rabbitmq-server)")
    return await measure_peer("RabbitMQ", open_rabbitmq, limits, full=full)
