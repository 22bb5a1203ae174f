"""Install this checkout into the environment that runs this: ``-m scripts.install .``."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Bytecode is made for what the services import, 1,900 of the 6,400 files that are installed.
SERVICES = ("gateway.app", "aggregator.app", "ingest.app", "scripts.run")
# pip's words for a server that it cannot reach.
NO_NETWORK = "connection broken by"


def main(requirement: str) -> int:
    """Return the exit code; a failure is one short paragraph, the rest is in a file."""
    # Ctrl-C ends this program without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log = Path(sys.prefix) / "pip.log"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-compile", "-c", "constraints.txt", "-e", requirement]
    with log.open("wb") as output:
        done = subprocess.run(command, check=False, stdout=output, stderr=output)  # noqa: S603
    if done.returncode == 0:
        _write_bytecode()
        return 0
    said = log.read_text("utf-8", "replace")
    print(f"setup: {explain(said)}\nsetup: pip's own words are in {log}", file=sys.stderr)
    return 1


def explain(said: str) -> str:
    """Return in one or two lines why pip failed, from what it printed."""
    if NO_NETWORK in said:
        return (
            "pip cannot reach the package index, and the first setup needs it. Connect this\n"
            "setup: machine, or name a mirror: pip config set global.index-url ADDRESS"
        )
    errors = [line for line in said.splitlines() if line.lower().startswith("error")]
    return errors[0] if errors else "pip failed"


def _write_bytecode() -> None:
    # Each import writes it. Two processes, because two cores are usual.
    halves: Sequence[Sequence[str]] = (SERVICES[:1], SERVICES[1:])
    running = [
        subprocess.Popen([sys.executable, "-c", f"import {', '.join(each)}"])  # noqa: S603
        for each in halves
    ]
    for process in running:
        # A module that cannot be imported is an error of the command that needs it.
        process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
