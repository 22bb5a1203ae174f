"""``make run``: start the three services and the fake feed, show where they are, stop in order.

``make run-one`` is the same with the three services in one process. With FEED, a live source takes
the place of the fake feed: ``make run FEED=binance:BTC/USDT,ETH/USDT``.
"""

import signal

if __name__ == "__main__":
    # Before the other imports, which take half a second: Ctrl-C then leaves no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import shlex
import shutil
import sys
import textwrap
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from queue import Empty, SimpleQueue
from time import monotonic

import psutil
from honcho.colour import get_colours
from honcho.printer import Message, Printer
from honcho.process import Process

from aggregator.settings import AggregatorSettings
from connect.settings import ConnectSettings
from fakeclient.settings import FakeclientSettings
from gateway.settings import GatewaySettings
from ingest.settings import IngestSettings
from marketdata.addresses import check_address
from marketdata.errors import AddressInUse, StartError
from marketdata.printing import print_line, silence
from marketdata.settings import load_settings
from scripts.processes import FEED, LIVE_FEED, ONE, THREE, Processes

# A process is killed when it runs so much longer than its own deadline; feeds have none.
STOP_MARGIN_S = 5.0
FEED_STOP_S = 10.0
# A second Ctrl-C says what is still waited for, a third kills.
KILLING_SIGNAL = 3
# On narrower terminals the time at the front of each line is left out.
WIDE = 100
# Room for a word and a value beside the name of the service.
MIN_WIDTH = 40

BANNER = """
  the market at work   {gateway}/{page}
  one symbol           {gateway}/api/v1/marketdata/{symbol}
  live in a terminal   curl -N '{gateway}/api/v1/stream?symbols={symbol}'
  try every call       {gateway}/docs and {gateway}/graphiql
  push your own ticks  {ingest} (TCP)
  gRPC                 {aggregator}
  Ctrl-C stops everything in order.
"""

_SYSTEM = "system"
_SIGNAL = "signal"


class Screen:
    """Print the lines of the processes; the lines fit the terminal.

    Args:
        names: of the processes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = max(map(len, names))
        self._printers = {
            wide: Printer(sys.stdout, width=self._names, time_format="%H:%M:%S" if wide else "")
            for wide in (True, False)
        }

    def show(self, message: Message) -> None:
        """Print what one process said; a long line goes on, indented, on the next one."""
        # Without a terminal nothing is cut: a program may read the lines.
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        printer = self._printers[not columns or columns >= WIDE]
        text = message.data
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        if columns:
            time = 8 if columns >= WIDE else 0
            front = time + len(" ") + self._names + len(" | ")
            text = fold(text, max(MIN_WIDTH, columns - front))
        # A terminal that is gone must not keep us from stopping what we started.
        try:
            printer.write(message._replace(data=text))
        except OSError:
            silence(sys.stdout)

    def print(self, text: str) -> None:
        """Print a text of our own as it is."""
        print_line(text)


def fold(text: str, width: int) -> str:
    """Return ``text`` with its lines broken between words, so that they fit ``width``."""
    folded = [
        "\n".join(
            textwrap.wrap(line, width, subsequent_indent="    ", break_on_hyphens=False)
            if len(line) > width
            else [line]
        )
        for line in text.splitlines()
    ]
    return "\n".join(folded)


class Supervisor:
    """Run the processes of one ``make run``: start and stop in order, show what they say.

    A service that is killed is started again. When a process ends by itself, all end.

    Args:
        processes: what is run.
        env: the environment of the processes.
        banner: what is shown when all services listen for the first time.
        deadlines_s: how long each process may take to stop.
    """

    def __init__(
        self,
        processes: Processes,
        env: Mapping[str, str],
        banner: str,
        deadlines_s: Mapping[str, float],
    ) -> None:
        self._processes = processes
        self._env = dict(env)
        self._banner = banner
        self._deadlines_s = deadlines_s
        self._screen = Screen(processes.needs)
        self._colours = dict(zip(processes.needs, get_colours(), strict=False))
        # Lines, starts and ends from the threads that read the processes; signals. put() of this
        # queue may be called in a signal handler.
        self._events: SimpleQueue[Message] = SimpleQueue()
        self._running: set[str] = set()
        self._pids: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._listening: set[str] = set()
        # The process that was asked to end, and the time at which it is killed.
        self._ending: str | None = None
        self._deadline: float | None = None
        self._stopping = False
        self._signals = 0

    def run(self) -> int:
        """Return when every process has ended: 0 if each ended well, else 1."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._events.put(_signal(number)))
        self._start_ready()
        while self._running:
            try:
                event = self._events.get(timeout=self._seconds_left())
            except Empty:
                name = str(self._ending)
                self._say(f"{name} has not ended in {self._time_to_stop(name):g} s, killing it")
                self._kill({name})
            else:
                self._handle(event)
        return 1 if any(self._codes.values()) else 0

    def _handle(self, event: Message) -> None:
        if event.type == "start":
            self._pids[event.name] = event.data["pid"]
            self._stop_next()
        elif event.type == "line":
            self._screen.show(event)
            if event.name in self._processes.services and self._processes.ready in event.data:
                self._note_listening(event.name)
        elif event.type == "stop":
            self._note_end(event.name, event.data["returncode"])
        elif event.type == _SIGNAL:
            self._note_signal()

    def _note_signal(self) -> None:
        self._signals += 1
        if self._signals >= KILLING_SIGNAL:
            self._say("killing what still runs")
            self._kill(self._running)
        elif self._stopping:
            left = "" if self._deadline is None else f" for at most {self._seconds_left():.0f} s"
            self._say(f"waiting for {self._ending or 'a start'}{left}; again kills everything")
        else:
            self._say(f"stopping {', then '.join(self._still_running())}")
        self._stopping = True
        self._stop_next()

    def _still_running(self) -> list[str]:
        return [name for name in self._processes.stop_order if name in self._running]

    def _start_ready(self) -> None:
        for name, needs in self._processes.needs.items():
            if name in self._running or name in self._codes or not needs <= self._listening:
                continue
            self._start(name)

    def _start(self, name: str) -> None:
        self._running.add(name)
        words = self._processes.feed if name == self._processes.feed[0] else (name,)
        command = f"exec {shlex.join((sys.executable, '-m', *words))}"
        process = Process(command, name=name, colour=self._colours[name], env=self._env)
        # The processes are in sessions of their own: Ctrl-C reaches only us.
        threading.Thread(target=process.run, args=(self._events,), daemon=True).start()

    def _note_listening(self, name: str) -> None:
        self._listening.add(name)
        if not self._stopping:
            self._start_ready()
            if self._listening == self._processes.services and self._banner:
                self._screen.print(self._banner)
                self._banner = ""

    def _note_end(self, name: str, code: int) -> None:
        self._running.discard(name)
        self._pids.pop(name, None)
        if code < 0 and name in self._listening and not self._stopping:
            # One that is killed before it listens is not started for ever.
            self._listening.discard(name)
            self._say(f"{name} was killed by signal {-code}, starting it again")
            self._start(name)
            return
        if code == -signal.SIGINT or (self._stopping and code == -signal.SIGTERM):
            # It had only begun to start: it did not yet take signals as a request, and until its
            # session is its own, Ctrl-C reaches it too.
            code = 0
        self._codes[name] = code
        if not self._stopping:
            self._stopping = True
            self._say(f"{name} has ended with code {code}, so everything ends")
        elif name != self._ending or code:
            self._say(f"{name} has ended with code {code}")
        if name == self._ending:
            self._ending = self._deadline = None
        self._stop_next()

    def _stop_next(self) -> None:
        # One after the other, each when the one before has ended. A process that is just starting
        # gets its turn when its pid is known.
        if not self._stopping or self._ending is not None:
            return
        name = next(iter(self._still_running()), None)
        if name in self._pids:
            self._ending, self._deadline = name, monotonic() + self._time_to_stop(name)
            with suppress(ProcessLookupError):
                os.kill(self._pids[name], signal.SIGTERM)

    def _time_to_stop(self, name: str) -> float:
        return self._deadlines_s[name] + STOP_MARGIN_S

    def _kill(self, names: set[str]) -> None:
        self._deadline = None
        for name in names & self._pids.keys():
            with suppress(ProcessLookupError):
                os.kill(self._pids[name], signal.SIGKILL)

    def _seconds_left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def _say(self, line: str) -> None:
        self._screen.show(Message("line", line, datetime.now(), _SYSTEM, None))


def _signal(number: int) -> Message:
    return Message(_SIGNAL, number, None, _SYSTEM, None)


def main(processes: Processes, feed: str = "") -> int:
    """Run everything, with a live source if ``feed`` names one; return the exit code."""
    try:
        ingest, aggregator, gateway = (
            load_settings(IngestSettings),
            load_settings(AggregatorSettings),
            load_settings(GatewaySettings),
        )
        load_settings(FakeclientSettings)
        load_settings(ConnectSettings)
        if feed:
            processes = processes.with_feed(feed)
        addresses = {
            "aggregator": (aggregator.host, aggregator.port),
            "ingest": (ingest.host, ingest.port),
            "gateway": (gateway.host, gateway.port),
        }
        check_ports(addresses)
    except StartError as exc:
        print(f"{processes.command}: {exc}", file=sys.stderr)
        return 1
    connect_to = {name: f"{_reachable(host)}:{port}" for name, (host, port) in addresses.items()}
    shown = {name: f"{_visible(host)}:{port}" for name, (host, port) in addresses.items()}
    shown["gateway"] = f"http://{shown['gateway']}"
    env = {
        # A port that is moved is moved for those who connect to it, too.
        "INGEST_AGGREGATOR": connect_to["aggregator"],
        "GATEWAY_AGGREGATOR": connect_to["aggregator"],
        "FAKECLIENT_SERVER": connect_to["ingest"],
        "CONNECT_SERVER": connect_to["ingest"],
        # A restart fills what it missed.
        "CONNECT_POSITION": f"data/connect-{(*processes.feed, FEED)[1]}.position",
        # A restart goes on where it was, and no acknowledged tick is lost.
        "AGGREGATOR_LOG": "data/log",
        "AGGREGATOR_VIEWS": "last-trade,volume-profile",
        # Prices go on from where they were when it ran last.
        "FAKECLIENT_CONTINUE_FROM": connect_to["aggregator"],
        # A line per second would bury everything else.
        "FAKECLIENT_LOG_LEVEL": "warning",
        **{f"{name.upper()}_LOG_FORMAT": "brief" for name in (*addresses, FEED, LIVE_FEED)},
        "PYTHONUNBUFFERED": "1",
        **os.environ,
    }
    deadlines_s = {
        "aggregator": aggregator.shutdown_deadline_s,
        "ingest": ingest.shutdown_deadline_s,
        "gateway": gateway.shutdown_deadline_s,
        FEED: FEED_STOP_S,
        LIVE_FEED: FEED_STOP_S,
    }
    # It ends its services one after the other.
    deadlines_s["standalone"] = sum(deadlines_s[name] for name in addresses)
    symbol = processes.symbol
    page = f"#/{symbol}" if processes.feed[0] == LIVE_FEED else ""
    banner = BANNER.format(symbol=symbol, page=page, **shown)
    return Supervisor(processes, env, banner, deadlines_s).run()


def check_ports(addresses: Mapping[str, tuple[str, int]]) -> None:
    """Make sure that every service will be able to listen.

    Raises:
        StartError: names the first address that is taken, and the process that has it if that can
            be seen.
    """
    for name, (host, port) in addresses.items():
        try:
            check_address(host, port)
        except AddressInUse as exc:
            raise StartError(f"{exc}{_holder(port)}; {name.upper()}_PORT sets another one") from exc


def _holder(port: int) -> str:
    # Other users' processes cannot always be seen.
    try:
        # An outgoing connection may hold the port, too: the system takes its ports from a range in
        # which ours lie.
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                command = shlex.join(psutil.Process(connection.pid).cmdline())
                return f" by process {connection.pid} ({command})"
    except psutil.Error:
        pass
    return ""


def _visible(host: str) -> str:
    return "localhost" if host in {"127.0.0.1", "0.0.0.0"} else host  # noqa: S104


def _reachable(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104


if __name__ == "__main__":
    sys.exit(main(ONE if "--one" in sys.argv[1:] else THREE, os.environ.get("FEED", "")))
