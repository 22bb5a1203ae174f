"""Talk SQL to SQLite or PostgreSQL; every call here may raise :data:`STORE_ERRORS`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import (
    URL,
    ClauseElement,
    Connection,
    PoolProxiedConnection,
    Table,
    delete,
    event,
    false,
    inspect,
    literal_column,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, Dialect
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only

from aggregator.bars.bar import SESSION, BarState
from aggregator.store.address import describe, sqlite_file
from aggregator.store.rows import Row, symbol_of
from aggregator.store.schema import KEY, STORED, bars, symbols
from marketdata.errors import MarketDataError


class UnknownSchema(MarketDataError):
    """The database has tables of another version than any that the migrations know."""


# With these the drivers and SQLAlchemy report that the database cannot do something now.
STORE_ERRORS = (
    SQLAlchemyError,
    UnknownSchema,
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
# Long enough for another writer's transaction, short enough to try again soon.
SQLITE_BUSY_S = 2.0
# A migration takes longer than any other transaction, and another process may be at one now.
MIGRATION_PATIENCE = 4
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
MAX_READS = 4
# The files of the migrations, which begin with their revisions.
MIGRATIONS = Path(__file__).with_name("migrations") / "versions"
# One more for the writer, so that readers never keep it waiting.
POOL_SIZE = MAX_READS + 1
_PRAGMAS = (
    # Readers and the writer do not wait for each other.
    "journal_mode = WAL",
    # A commit survives a crash of the process; the last ones may not survive one of the machine.
    "synchronous = NORMAL",
    # KiB, for each connection.
    "cache_size = -16384",
    # Without it the log stays as large as the largest transaction.
    "journal_size_limit = 67108864",
)
_PRAGMA_RETRY_S = 0.01
# The number of our advisory lock: one process at a time migrates.
_MIGRATION_LOCK = 0x6D61726B6574


class StoreEmptied(OSError):
    """The file of the store is not the one that was opened: somebody emptied or removed it."""


class Database:
    """One database; each call is one transaction."""

    def __init__(
        self, url: URL, *, busy_s: float = SQLITE_BUSY_S, pragmas: Iterable[str] = ()
    ) -> None:
        self.name = describe(url)
        self._password = str(url.password or "")
        self._file = sqlite_file(url)
        self._pragmas = tuple(pragmas)
        self._busy_s = busy_s
        arguments: dict[str, Any] = {"timeout": busy_s}
        if self._file is None:
            arguments = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": COMMAND_TIMEOUT_S}
        self._engine = create_async_engine(
            url,
            connect_args=arguments,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=COMMAND_TIMEOUT_S,
            # An error would print a thousand bars, the parameters of its statement.
            hide_parameters=True,
        )
        self.dialect: Dialect = self._engine.dialect
        self._is_stale = False
        self._closing: set[asyncio.Task[None]] = set()
        event.listen(self._engine.sync_engine, "checkout", self._check_out)
        if self._file is not None:
            event.listen(self._engine.sync_engine, "connect", self._prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
        self._upsert = self.render(_upsert_bars(self), [field.name for field in STORED])
        self._add_symbol = self.render(self.insert(symbols).on_conflict_do_nothing())
        # The file whose tables we made or found, by device and inode.
        self._opened: tuple[int, int] | None = None
        # Whether there must be tables; None: not known yet.
        self._had_tables: bool | None = None
        # Symbols that have their row.
        self._known_symbols: set[str] = set()
        # We write one transaction at a time, so SQLite never has to wait for another of ours.
        self._writing = asyncio.Lock()
        self._reading = asyncio.Semaphore(MAX_READS)

    def _prepare_sqlite(self, connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # Transactions begin where _begin_sqlite says, not where the driver guesses.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (*_PRAGMAS, *self._pragmas):
            self._execute_pragma(cursor, pragma)
        cursor.close()

    def _execute_pragma(self, cursor: DBAPICursor, pragma: str) -> None:
        # Where two connections turn on the log of a new file, SQLite refuses one without waiting.
        deadline = time.monotonic() + self._busy_s
        while True:
            try:
                cursor.execute(f"PRAGMA {pragma}")
            except sqlite3.OperationalError as exc:
                if "locked" not in str(exc) or time.monotonic() >= deadline:
                    raise
                await_only(asyncio.sleep(_PRAGMA_RETRY_S))
            else:
                return

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        self._check_file()
        # A cancelled caller stops waiting, but the connection is still opened and then closed:
        # otherwise SQLite's driver would leave a thread running.
        opening = asyncio.ensure_future(self._engine.connect().start())
        try:
            yield await asyncio.shield(opening)
        finally:
            closing = asyncio.create_task(_close(opening))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)

    def _check_file(self) -> None:
        # SQLite does not notice: it would go on with a file that nobody can open any more.
        if self._file is None or self._opened is None:
            return
        try:
            found = self._file.stat()
        except FileNotFoundError:
            raise StoreEmptied("the file was removed") from None
        if (found.st_dev, found.st_ino) != self._opened:
            raise StoreEmptied("the file was replaced by another one")
        if not found.st_size:
            # What SQLite has in its log are pages of the former content. A connection that closes
            # would write them into the file, which would then be no database.
            with suppress(OSError):
                os.truncate(f"{self._file}-wal", 0)
            raise StoreEmptied("the file was emptied")

    def _check_out(
        self,
        _connection: DBAPIConnection,
        _entry: ConnectionPoolEntry,
        _proxy: PoolProxiedConnection,
    ) -> None:
        # If we disposed of the engine instead, the connections in use would have no owner.
        if self._is_stale:
            self._is_stale = False
            raise InvalidatePoolError

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self._file is not None

    def problem(self, error: BaseException) -> str:
        """Return the message of ``error`` as one line, without the password."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        said = str(cause).strip().partition("\n")[0] or type(cause).__name__
        # The driver's adapter puts a class name before the message.
        said = said.rpartition("'>: ")[2]
        return said.replace(self._password, "***") if self._password else said

    def insert(self, table: Table) -> Any:
        """Return an insert that can also update rows that exist."""
        # The two dialects have the same methods and no common type.
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def render(self, statement: ClauseElement, columns: list[str] | None = None) -> str:
        """Return the text of a statement whose parameters are columns, all of them by default.

        A thousand rows as tuples cost a tenth of what they cost as dicts.
        """
        return str(statement.compile(dialect=self.dialect, column_keys=columns))

    async def migrate(self) -> bool:
        """Create the tables or bring them up to date; safe while another process does so too.

        Returns:
            Whether the tables are missing that must have been there: the file existed, or this
            object had made them before. The new ones are empty.
        """
        if self._opened is not None:
            self.refresh()
        self._opened = None
        self._known_symbols.clear()
        if self._file is not None:
            await asyncio.to_thread(self._file.parent.mkdir, parents=True, exist_ok=True)
        if self._had_tables is None:
            # Before a connection makes the file.
            self._had_tables = self._file is not None and await asyncio.to_thread(self._file.exists)
        async with self.write(self._busy_s * MIGRATION_PATIENCE) as connection:
            if not self.is_sqlite:
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            is_new = not await connection.run_sync(_has_tables)
            await connection.run_sync(_migrate)
        # The connection of the migration would wait too long for a lock.
        self.refresh()
        self._opened = await asyncio.to_thread(self._identify)
        is_emptied = is_new and self._had_tables
        self._had_tables = True
        return is_emptied

    def _identify(self) -> tuple[int, int]:
        if self._file is None:
            return 0, 0
        found = self._file.stat()
        return found.st_dev, found.st_ino

    def lacks_tables(self, error: BaseException) -> bool:
        """Return whether an error says that the file or the tables are gone."""
        if isinstance(error, StoreEmptied):
            return True
        cause = error.orig if isinstance(error, DBAPIError) else None
        # PostgreSQL's code of an undefined table.
        return "no such table" in str(cause) or getattr(cause, "sqlstate", "") == "42P01"

    async def ping(self) -> None:
        """Make sure that the database answers, and has its tables."""
        async with self.read() as connection:
            await connection.execute(select(symbols.c.symbol).limit(1))

    def refresh(self) -> None:
        """Do not reuse the open connections: their server may be gone."""
        self._is_stale = True

    async def close(self) -> None:
        """Close all connections; each must have been given back before."""
        await asyncio.gather(*self._closing)
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection for reading; :data:`MAX_READS` can be open at a time."""
        async with self._reading, self._connection() as connection:
            yield connection

    @asynccontextmanager
    async def write(self, busy_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Give the only connection for writing; its transaction ends with the context.

        Args:
            busy_s: how long SQLite waits for other writers, if it is not as long as usual.
        """
        async with self._writing, self._connection() as connection:
            await connection.execution_options(writes=True, busy_s=busy_s)
            async with connection.begin():
                yield connection

    async def save_bars(self, rows: Sequence[Row]) -> None:
        """Write bars of different keys; a stored bar that is newer stays as it is."""
        names = set(map(symbol_of, rows))
        async with self.write() as connection:
            await self.add_symbols(connection, names)
            await connection.exec_driver_sql(self._upsert, list(rows))
        self._known_symbols |= names

    async def remove_sessions(self) -> None:
        """Remove the sessions that the last stop left."""
        async with self.write() as connection:
            # Written as in the condition of the index, which a parameter is not.
            is_open = bars.c.state < literal_column(str(BarState.FINAL.value))
            await connection.execute(delete(bars).where(bars.c.interval == SESSION, is_open))

    async def add_symbols(self, connection: AsyncConnection, names: set[str]) -> None:
        """Add the symbols that have no row yet."""
        new = [(name,) for name in sorted(names - self._known_symbols)]
        if new:
            await connection.exec_driver_sql(self._add_symbol, new)

    async def go_by_key(self, connection: AsyncConnection) -> None:
        """Make the transaction's joins look up each row by its key.

        PostgreSQL expects too many rows of a join on a range, and would read whole tables.
        """
        if not self.is_sqlite:
            for way in ("hashjoin", "mergejoin", "seqscan"):
                await connection.execute(text(f"SET LOCAL enable_{way} = off"))

    async def explain(self, statement: ClauseElement, *, by_key: bool = False) -> str:
        """Return the database's plan for a statement."""
        compiled = statement.compile(dialect=self.dialect, compile_kwargs={"literal_binds": True})
        keyword = "EXPLAIN QUERY PLAN" if self.is_sqlite else "EXPLAIN"
        async with self.read() as connection:
            if by_key:
                await self.go_by_key(connection)
            found = await connection.execute(text(f"{keyword} {compiled}"))
            return "\n".join(str(row[-1]) for row in found)


async def _close(opening: asyncio.Future[AsyncConnection]) -> None:
    with suppress(*STORE_ERRORS):
        await (await opening).close()


def _upsert_bars(database: Database) -> ClauseElement:
    statement = database.insert(bars)
    new = statement.excluded
    result: ClauseElement = statement.on_conflict_do_update(
        index_elements=KEY,
        set_={
            **{field.name: new[field.name] for field in STORED if field.name not in KEY},
            # Its trades may be others now than those of the files.
            "imported": false(),
        },
        # At the same rank the bar with more trades stays: a fragment, made after a start without
        # the store, must not replace the whole bar.
        where=tuple_(new.revision, new.state, new.trades)
        >= tuple_(bars.c.revision, bars.c.state, bars.c.trades),
    )
    return result


def _has_tables(connection: Connection) -> bool:
    return inspect(connection).has_table(bars.name)


def _migrate(connection: Connection) -> None:
    if _revision(connection) == newest_revision():
        return
    # It takes as long to load as the database library, and is rarely needed.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "aggregator.store:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as exc:
        raise UnknownSchema(str(exc)) from exc


def newest_revision() -> str:
    """Return the revision that the migrations lead to."""
    return max(path.name[:4] for path in MIGRATIONS.glob("[0-9]*.py"))


def _revision(connection: Connection) -> str | None:
    # As alembic keeps it.
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _begin_sqlite(connection: Connection) -> None:
    # A writer that reads first, and must then wait for another writer, would fail.
    options = connection.get_execution_options()
    kind = "IMMEDIATE" if options.get("writes") else "DEFERRED"
    if (busy_s := options.get("busy_s")) is not None:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(busy_s * 1000)}")
    connection.exec_driver_sql(f"BEGIN {kind}")
