"""Trades of a file that grows: the rows that it has, then each one that is appended."""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from watchfiles import Change, awatch

from connect.errors import SourceFailed
from connect.outlet import Outlet
from connect.positions import load_position, save_position
from connect.records import Records
from connect.settings import ConnectSettings
from connect.states import States
from connect.trades import Trade

# Read and acknowledged together.
CHUNK = 256 * 1024
# A longer line is no trade.
MAX_LINE = 16 * 1024
# So long without a change ends a group of changes, of which the watcher tells.
_STEP_MS = 10


class Position:
    """How far a file was sent: a small file beside it.

    :attr:`key` names the file's content: ids of its rows begin with it.

    Args:
        path: of the small file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.key = ""
        self.inode = 0
        self.offset = 0

    def load(self) -> bool:
        """Read it; return whether there is one.

        Raises:
            SourceFailed: it cannot be read.
        """
        stored = load_position(self._path)
        if stored is None:
            return False
        try:
            self.key, self.inode = str(stored["key"]), int(stored["inode"])
            self.offset = int(stored["offset"])
        except (ValueError, KeyError, TypeError) as exc:
            problem = f"cannot read the position {self._path}: {exc!r}"
            raise SourceFailed(problem) from exc
        return True

    def begin(self, inode: int) -> None:
        """Begin another content."""
        self.key, self.inode, self.offset = token_hex(8), inode, 0
        self.save()

    def save(self) -> None:
        """Write it.

        Raises:
            SourceFailed: it cannot be written.
        """
        position = {"key": self.key, "inode": self.inode, "offset": self.offset}
        save_position(self._path, position)


class TailSource:
    """The rows of one growing file.

    Args:
        path: the file; it may come later.
        settings: the settings.
        outlet: takes the trades.
        states: says what happens.

    Raises:
        SourceFailed: the fields are not named as they should be, or the position is not readable.
    """

    def __init__(
        self, path: Path, settings: ConnectSettings, outlet: Outlet, states: States
    ) -> None:
        self._path = path.absolute()
        self._settings = settings
        self._outlet = outlet
        self._states = states
        self._records = Records(settings, states)
        self._position = Position(Path(settings.position or f"{path}.position"))
        self._is_known = self._position.load()
        self._changed = asyncio.Event()
        self._columns: list[str] | None = None

    @property
    def dropped(self) -> int:
        """How many records were no valid trades."""
        return self._records.bad

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            SourceFailed: the file cannot be read.
        """
        if not self._path.parent.is_dir():
            raise SourceFailed(f"there is no directory {self._path.parent}")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            while True:
                file = await self._open()
                try:
                    await self._follow(file)
                finally:
                    file.close()

    async def _watch(self) -> None:
        # The directory: the file itself may be replaced.
        def is_ours(_: Change, path: str) -> bool:
            return Path(path).name == self._path.name

        directory = self._path.parent
        try:
            async for _ in awatch(directory, watch_filter=is_ours, step=_STEP_MS, recursive=False):
                self._changed.set()
        except (OSError, RuntimeError) as exc:
            raise SourceFailed(f"cannot watch {directory}: {exc}") from exc

    async def _open(self) -> BinaryIO:
        # A first turn, so that the watcher watches before we look.
        await asyncio.sleep(0)
        while True:
            try:
                file = self._path.open("rb")
            except FileNotFoundError:
                self._states.enter("waiting", f"there is no {self._path.name} yet")
                await self._wait()
                continue
            except OSError as exc:
                raise SourceFailed(f"cannot read {self._path}: {exc.strerror}") from exc
            break
        self._start(file)
        return file

    def _start(self, file: BinaryIO) -> None:
        status = os.fstat(file.fileno())
        position = self._position
        goes_on = self._is_known and status.st_ino == position.inode
        if not goes_on or status.st_size < position.offset:
            position.begin(status.st_ino)
            self._is_known = True
        self._columns = None
        self._states.enter("reading", f"{self._path.name} from byte {position.offset:,}")

    async def _follow(self, file: BinaryIO) -> None:
        # Returns when another file has the name, or this one was cut.
        if self._settings.header and self._position.offset:
            self._columns = self._split(file.readline())
        file.seek(self._position.offset)
        while True:
            self._changed.clear()
            if await self._send_rows(file):
                continue
            if self._states.state == "reading":
                self._states.enter("live", self._path.name)
            if self._is_replaced(file):
                # Its last line may have had no end.
                await self._outlet.put(self._trades(file.tell(), file.read()))
                return
            await self._wait()

    async def _send_rows(self, file: BinaryIO) -> bool:
        start = file.tell()
        chunk = await asyncio.to_thread(file.read, CHUNK)
        end = chunk.rfind(b"\n") + 1
        if not end and len(chunk) > MAX_LINE:
            self._records.note_bad(f"{self._path.name} byte {start}: a line above {MAX_LINE} bytes")
            end = len(chunk)
        # What has no line end yet is read again.
        file.seek(start + end)
        if not end:
            return False
        await self._outlet.put(self._trades(start, chunk[:end]))
        await self._outlet.flush()
        self._position.offset = start + end
        self._position.save()
        return True

    def _trades(self, start: int, chunk: bytes) -> Iterator[Trade]:
        offset = start
        for line in chunk.splitlines(keepends=True):
            at, offset = offset, offset + len(line)
            row = self._split(line)
            if not any(row):
                continue
            if self._columns is None:
                if self._settings.header:
                    self._columns = row
                    continue
                self._columns = [str(number + 1) for number in range(len(row))]
            record = {name: value for name, value in zip(self._columns, row, strict=False) if value}
            place = f"{self._path.name} byte {at:,}"
            yield from self._records.trades(record, place, f"{self._position.key}:{at}")

    def _split(self, line: bytes) -> list[str]:
        text = line.decode("utf-8", "replace").strip("\r\n\ufeff")
        rows = csv.reader([text], delimiter=self._settings.delimiter)
        return [value.strip() for value in next(rows, [])]

    def _is_replaced(self, file: BinaryIO) -> bool:
        now = os.fstat(file.fileno())
        if now.st_size < file.tell():
            self._states.warn(f"cut: {self._path.name} is shorter than before, reading it anew")
            self._is_known = False
            return True
        try:
            other = self._path.stat()
        except FileNotFoundError:
            return False
        if other.st_ino == now.st_ino:
            return False
        self._states.say(f"replaced: {self._path.name} is another file now")
        return True

    async def _wait(self) -> None:
        await self._changed.wait()
        self._changed.clear()
