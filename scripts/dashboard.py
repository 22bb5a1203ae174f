"""``make check-dashboard``: check the dashboard's types and run its tests without a browser."""

from __future__ import annotations

import subprocess
import sys

from scripts.assets import GATEWAY
from scripts.node import NodeMissing, find_node

DASHBOARD = GATEWAY / "dashboard"
# Run by Node.js itself: the commands that npm installs for them look for node on the PATH.
CHECKS = (
    ("../node_modules/typescript/bin/tsc", "--noEmit"),
    ("../node_modules/vitest/vitest.mjs", "run"),
)


def main() -> int:
    """Return the exit code."""
    try:
        node = find_node()
        node.install(GATEWAY)
        for check in CHECKS:
            subprocess.run([*node.node, *check], cwd=DASHBOARD, check=True)  # noqa: S603
    except NodeMissing as exc:
        print(f"dashboard: {exc}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as exc:
        print(f"dashboard: {exc.cmd[1]} failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
