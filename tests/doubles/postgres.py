"""A PostgreSQL server for the tests."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

USER = "market"
PASSWORD = "se@cret"  # its @ shows whether somebody splits addresses by hand


class PostgresServer:
    """Listens on a socket in its own directory; can be stopped, killed and started again."""

    def __init__(self, folder: Path, programs: Path, account: dict[str, Any]) -> None:
        self._folder = folder
        self._programs = programs
        self._account = account
        self._made = 0

    def prepare(self) -> None:
        """Make the files of a new server."""
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        if self._account:
            os.chown(secret, self._account["user"], self._account["group"])
        self._run(
            *("initdb", "-D", self._data, "-U", USER, "-A", "scram-sha-256", "--no-sync"),
            *("--pwfile", str(secret), "--locale=C", "-E", "UTF8"),
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c max_connections=30"
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-o", options, "-l", log)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; ``immediate`` is what a crash leaves behind."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", self._data)

    async def make_database(self) -> str:
        """Return the address of a new database."""
        self._made += 1
        name = f"bars{self._made}"
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self.url(name)

    def url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://{USER}:{quote(PASSWORD)}@/{database}?host={self._folder}"

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            (self._programs / program, *arguments),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            **self._account,
        )
        if done.returncode:
            raise AssertionError(f"{program}: {done.stdout.decode()}")


@contextlib.contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """Run a server within the context, and remove its files afterwards."""
    programs = _find_programs()
    # Not pytest's folder: only its owner may enter that, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        account: dict[str, Any] = {}
        if os.getuid() == 0:
            # The server refuses to be root.
            entry = pwd.getpwnam("postgres")
            account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        server = PostgresServer(folder, programs, account)
        server.prepare()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder)


def _find_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise AssertionError("PostgreSQL is missing; on Debian: apt-get install postgresql")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent
