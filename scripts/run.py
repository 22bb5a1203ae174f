"""``make run``: start the three services and the fake feed, show where they are, stop in order."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Mapping

import honcho.manager
import psutil
from honcho.manager import Manager
from honcho.printer import Message, Printer

from aggregator.settings import AggregatorSettings
from fakeclient.settings import FakeclientSettings
from gateway.settings import GatewaySettings
from ingest.settings import IngestSettings
from marketdata.addresses import check_address
from marketdata.errors import AddressInUse, StartError
from marketdata.settings import load_settings

# Producers before consumers, so that each can hand over what it holds.
STOP_ORDER = ("fakeclient", "ingest", "gateway", "aggregator")
STOP_TIMEOUT_S = 12.0

BANNER = """
  the market at work   {gateway}/api/v1/marketdata/AAPL
  try every call       {gateway}/docs
  push your own ticks  {ingest} (TCP)
  gRPC                 {aggregator}
  Ctrl-C stops everything.
"""


class OrderedManager(Manager):  # type: ignore[misc]  # honcho has no types
    """Stop one process after the other, each when the one before has ended."""

    # Set by honcho; without types of its own it does not tell.
    _terminating: bool

    def terminate(self) -> None:
        """Begin to stop; the loop goes on printing what the processes say."""
        if not self._terminating:
            self._terminating = True
            threading.Thread(target=self._stop_in_order, daemon=True).start()

    def _stop_in_order(self) -> None:
        for name in STOP_ORDER:
            process = self._processes[name]
            if "pid" not in process or "returncode" in process:
                continue
            try:
                running = psutil.Process(process["pid"])
                self._procmgr.terminate(process["pid"])
                running.wait(STOP_TIMEOUT_S)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
            except psutil.TimeoutExpired:
                self._procmgr.kill(process["pid"])

    @property
    def exit_code(self) -> int:
        """0 if every process ended well after it was told to stop."""
        codes = [process.get("returncode", 1) for process in self._processes.values()]
        return 0 if self._terminating and not any(codes) else 1


class BannerPrinter(Printer):  # type: ignore[misc]  # honcho has no types
    """Show the addresses once the last service that one needs listens."""

    def __init__(self, banner: str) -> None:
        super().__init__(sys.stdout)
        self._banner = banner

    def write(self, message: Message) -> None:
        """Print one line of a process."""
        super().write(message)
        if message.name == "gateway" and b"gateway listening" in _as_bytes(message.data):
            print(self._banner, flush=True)  # noqa: T201


def main() -> int:
    """Run everything; return the exit code."""
    try:
        ingest, aggregator, gateway = (
            load_settings(IngestSettings),
            load_settings(AggregatorSettings),
            load_settings(GatewaySettings),
        )
        load_settings(FakeclientSettings)
        addresses = {
            "ingest": (ingest.host, ingest.port),
            "aggregator": (aggregator.host, aggregator.port),
            "gateway": (gateway.host, gateway.port),
        }
        check_ports(addresses)
    except StartError as exc:
        print(f"make run: {exc}", file=sys.stderr)  # noqa: T201
        return 1
    shown = {name: f"{_visible(host)}:{port}" for name, (host, port) in addresses.items()}
    shown["gateway"] = f"http://{shown['gateway']}"
    manager = OrderedManager(BannerPrinter(BANNER.format(**shown)))
    # More than any service takes to drain; honcho kills what is left then.
    honcho.manager.KILL_WAIT = 4 * STOP_TIMEOUT_S
    environment = {
        # Whoever moves a port moves it for those who connect to it, too.
        "INGEST_AGGREGATOR": shown["aggregator"],
        "GATEWAY_AGGREGATOR": shown["aggregator"],
        "FAKECLIENT_SERVER": shown["ingest"],
        **{f"{name.upper()}_LOG_FORMAT": "console" for name in STOP_ORDER},
        "PYTHONUNBUFFERED": "1",
        **os.environ,
    }
    for name in ("aggregator", "ingest", "gateway", "fakeclient"):
        manager.add_process(name, f"exec {shlex.quote(sys.executable)} -m {name}", env=environment)
    manager.loop()
    return manager.exit_code


def check_ports(addresses: Mapping[str, tuple[str, int]]) -> None:
    """Make sure that every service will be able to listen.

    Raises:
        StartError: names the first address that is taken, and by whom if that can be seen.
    """
    for name, (host, port) in addresses.items():
        try:
            check_address(host, port)
        except AddressInUse as exc:
            raise StartError(f"{exc}{_holder(port)}; {name.upper()}_PORT sets another one") from exc


def _holder(port: int) -> str:
    # Other users' processes cannot always be seen.
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr and connection.laddr.port == port and connection.pid:
                command = shlex.join(psutil.Process(connection.pid).cmdline())
                return f" by process {connection.pid} ({command})"
    except psutil.Error:
        pass
    return ""


def _visible(host: str) -> str:
    return "localhost" if host in {"127.0.0.1", "0.0.0.0"} else host  # noqa: S104


def _as_bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


if __name__ == "__main__":
    sys.exit(main())
