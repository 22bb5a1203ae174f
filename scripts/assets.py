"""Build what the gateway's pages load into gateway/static, from the packages of npm.

In each folder ``package-lock.json`` says which packages, and ``build.mjs`` what is made of them and
of what lies beside it. Nothing of it is committed.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.node import NodeMissing, find_node

GATEWAY = Path(__file__).resolve().parents[1] / "gateway"
# What packages bring, and our own pages.
FOLDERS = (GATEWAY / "assets", GATEWAY / "dashboard")
STATIC = GATEWAY / "static"


def main() -> int:
    """Return the exit code."""
    try:
        node = find_node()
        # Built beside it, so that a build that fails or is cut off leaves what was there before.
        fresh = STATIC.with_name("static.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for folder in FOLDERS:
            node.install(folder)
            subprocess.run([*node.node, "build.mjs", str(fresh)], cwd=folder, check=True)  # noqa: S603
        compress(fresh)
        shutil.rmtree(STATIC, ignore_errors=True)
        fresh.rename(STATIC)
    except NodeMissing as exc:
        print(f"assets: {exc}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as exc:
        print(f"assets: {' '.join(exc.cmd[:3])} failed", file=sys.stderr)
        return 1
    return 0


def compress(folder: Path) -> None:
    """Put beside each file in ``folder`` what the gateway sends to who takes gzip."""
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        content = file.read_bytes()
        # Without a time in it, so that the same sources give the same files.
        packed = gzip.compress(content, compresslevel=9, mtime=0)
        if len(packed) < len(content):
            file.with_name(f"{file.name}.gz").write_bytes(packed)


if __name__ == "__main__":
    sys.exit(main())
