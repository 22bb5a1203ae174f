"""Small disks that can be filled, for the tests' processes alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNS = 0x0002_0000


def has_disks() -> bool:
    """Let this process mount disks that nobody else sees; return whether it may.

    They are gone when the process and its children are, however those end.
    """
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(_CLONE_NEWNS) != 0:
        return False
    private = ["mount", "--make-rprivate", "/"]
    return subprocess.run(private, check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def mount_disk(path: Path, size: int) -> Iterator[None]:
    """Mount a disk with so many bytes at an empty directory, for the time of the context."""
    options = ["-t", "tmpfs", "-o", f"size={size}"]
    subprocess.run(["mount", *options, "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
