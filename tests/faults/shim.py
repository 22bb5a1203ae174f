"""Make a service's syncs slow and its clock wrong, while it runs."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path

_CONTROL = struct.Struct("=qq")


class Shim:
    """A library that is loaded into services, and the file that tells it what to do.

    Args:
        folder: where both go.
    """

    def __init__(self, folder: Path) -> None:
        library, control = folder / "shim.so", folder / "control"
        source = Path(__file__).with_name("shim.c")
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True)
        control.write_bytes(_CONTROL.pack(0, 0))
        with control.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _CONTROL.size)
        #: The environment of a service that obeys.
        self.env = {"LD_PRELOAD": str(library), "FAULT_CONTROL": str(control)}
        self._sync_us = self._clock_ns = 0

    def reset(self) -> None:
        """Obey no more."""
        self._sync_us = self._clock_ns = 0
        self._write()

    def slow_syncs(self, seconds: float) -> None:
        """Let each sync of a file take longer."""
        self._sync_us = int(seconds * 1e6)
        self._write()

    def step_clock(self, seconds: float) -> None:
        """Set the wall clock forward or back, compared with the machine's."""
        self._clock_ns = int(seconds * 1e9)
        self._write()

    def _write(self) -> None:
        _CONTROL.pack_into(self._memory, 0, self._sync_us, self._clock_ns)
