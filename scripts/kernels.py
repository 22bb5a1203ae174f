"""Compile the hot loops: ``-m scripts.kernels MODULE...``.

Compiling takes half a minute of CPU. The result is kept for this user, so another checkout of the
same sources, or this one after ``make clean``, copies it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The packages that have compiled loops, or constants and functions that are compiled into them.
PACKAGES = ("aggregator", "gateway", "ingest", "marketdata")
# Each is 2 MB. One per branch that somebody works on is enough.
MAX_KEPT = 8


def main(modules: list[str]) -> int:
    """Return the exit code of the compiler."""
    # Ctrl-C ends this program without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    kept = _cache_folder() / _fingerprint()
    # Without a place to keep it, compiling works all the same.
    with suppress(OSError):
        _copy(kept, ROOT)
    command = [sys.executable, "-m", "marketdata.warm", *modules]
    code = subprocess.run(command, check=False, cwd=ROOT).returncode  # noqa: S603
    if code == 0:
        with suppress(OSError):
            _keep(kept)
    return code


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "market-data-server" / "kernels"


def _fingerprint() -> str:
    # Only a key: numba itself checks source and processor of each file before it loads it.
    digest = hashlib.sha256(sys.version.encode())
    files = [ROOT / "constraints.txt"]
    for package in PACKAGES:
        files += sorted((ROOT / package).rglob("*.py"))
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _keep(kept: Path) -> None:
    if not kept.exists():
        fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
        _copy(ROOT, fresh)
        # Another setup may have been faster.
        with suppress(OSError):
            fresh.rename(kept)
        shutil.rmtree(fresh, ignore_errors=True)
    kept.touch()
    newest_first = sorted(kept.parent.iterdir(), key=lambda each: -each.stat().st_mtime)
    for old in newest_first[MAX_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    for file in _compiled_files(source):
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when whole: another process may load it.
        part = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copyfile(file, part)
        part.rename(copy)


def _compiled_files(folder: Path) -> Iterator[Path]:
    # The code before the index that names it.
    for pattern in ("*.nbc", "*.nbi", "compiled_kernels-*.so", "compiled_kernels-*.json"):
        for package in PACKAGES:
            yield from (folder / package).rglob(f"__pycache__/{pattern}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
