"""Build the files that the gateway's pages load into gateway/static.

``gateway/package-lock.json`` names the npm packages. ``build.mjs`` in each of the two folders says
what is built from them and from the sources beside it. The result is not committed.
"""

from __future__ import annotations

import gzip
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from scripts.node import NodeMissing, find_node

GATEWAY = Path(__file__).resolve().parents[1] / "gateway"
# The files that packages bring ready made, and our own pages.
FOLDERS = (GATEWAY / "assets", GATEWAY / "dashboard")
STATIC = GATEWAY / "static"


def main() -> int:
    """Return the exit code."""
    # Ctrl-C ends this program without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        node = find_node()
        node.install(GATEWAY)
        # Built in a second folder: a build that fails leaves the old files in place.
        fresh = STATIC.with_name("static.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for folder in FOLDERS:
            subprocess.run([*node.node, "build.mjs", str(fresh)], cwd=folder, check=True)  # noqa: S603
        compress(fresh)
        shutil.rmtree(STATIC, ignore_errors=True)
        fresh.rename(STATIC)
    except NodeMissing as exc:
        print(f"assets: {exc}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as exc:
        print(f"assets: {' '.join(map(str, exc.cmd[:3]))} failed", file=sys.stderr)
        return 1
    return 0


def compress(folder: Path) -> None:
    """Write a compressed copy beside each file of ``folder``, for clients that accept gzip."""
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        content = file.read_bytes()
        # No time stamp: the same sources give the same files.
        packed = gzip.compress(content, compresslevel=9, mtime=0)
        if len(packed) < len(content):
            file.with_name(f"{file.name}.gz").write_bytes(packed)


if __name__ == "__main__":
    sys.exit(main())
