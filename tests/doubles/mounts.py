"""Small file systems of their own, which can be full or read-only."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, leave: int = 0) -> None:
        """Take all room but so many bytes."""
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        if leave:
            with self._filler.open("r+b") as file:
                file.truncate(self._filler.stat().st_size - leave)

    def make_room(self) -> None:
        """Give the room back."""
        self._filler.unlink()

    def make_readonly(self) -> None:
        """Let nothing be written any more; no file may be open for writing."""
        _run("mount", "-o", "remount,ro", str(self.path))


@contextlib.contextmanager
def small_disk(path: Path, size: str = "1m") -> Iterator[SmallDisk]:
    """Mount a file system at ``path``; without the right to do so the test is skipped."""
    path.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"nothing can be mounted here: {exc}")
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)
