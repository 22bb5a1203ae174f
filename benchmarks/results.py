"""Keep results: one JSON file per commit, with the machine and the versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf.internal import api_implementation

from benchmarks.report import Line, Outcome

ROOT = Path(__file__).parents[1]
# All results of any run; git ignores them.
RESULTS = ROOT / "benchmarks" / "results"
# The results of published runs, which the docs show.
HISTORY = Path("benchmarks") / "history"


def machine_facts() -> dict[str, Any]:
    """Return the facts that the numbers depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "protobuf": f"{version('protobuf')} ({api_implementation.Type()})",
        # Of the minute before: 0 on an idle machine.
        "load_before": round(os.getloadavg()[0], 1),
    }


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    try:
        found = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def commit() -> str:
    """Return the short name of the commit, with ``-dirty`` where files differ from it."""
    return _git("describe", "--always", "--dirty", "--exclude=*")


class Results:
    """The results of one run, part by part."""

    def __init__(self, mode: str) -> None:
        self._head = {
            "commit": commit(),
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "mode": mode,
            "machine": machine_facts(),
        }
        self._lines: list[Line] = []
        self._skipped: dict[str, str] = {}
        self._details: dict[str, Any] = {}

    @property
    def lines(self) -> list[Line]:
        """The results so far."""
        return self._lines

    @property
    def commit(self) -> str:
        """The commit that was measured."""
        return str(self._head["commit"])

    def add(self, part: str, outcome: Outcome) -> None:
        """Keep the results of a part."""
        self._lines += outcome.lines
        self._details[part] = outcome.details
        if outcome.skipped:
            self._skipped[part] = outcome.skipped

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        return {
            **self._head,
            "skipped": self._skipped,
            "lines": [line.to_dict() for line in self._lines],
            "details": self._details,
        }


def write_json(path: Path, results: dict[str, Any]) -> None:
    """Write results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def read_lines(results: dict[str, Any]) -> list[Line]:
    """Return the lines of a file's results."""
    return [Line(**line) for line in results["lines"]]
