"""Build what the gateway's pages load into gateway/static, from the packages of npm.

In each folder ``package-lock.json`` says which packages, and ``build.mjs`` what is made of them and
of what lies beside it. Nothing of it is committed.
"""

from __future__ import annotations

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
        shutil.rmtree(STATIC, ignore_errors=True)
        fresh.rename(STATIC)
    except NodeMissing as exc:
        print(f"assets: {exc}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as exc:
        print(f"assets: {' '.join(exc.cmd[:3])} failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
