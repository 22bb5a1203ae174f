"""Read the address of the store, and show it without its password."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from marketdata.errors import MarketDataError

OFF = "off"
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
}


class InvalidStore(MarketDataError):
    """The address of the store is invalid; the message leaves out the address and its password."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"{problem}; it must be sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or off"
        )


def parse_store(address: str) -> URL | None:
    """Return the address with its driver, or None for ``off``.

    Raises:
        InvalidStore: it is not the address of a database we support.
    """
    if address == OFF:
        return None
    try:
        url = make_url(address)
    except (ArgumentError, ValueError) as exc:
        raise InvalidStore("the store's address cannot be read") from exc
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise InvalidStore(f"the store's scheme {url.drivername[:40]!r} is not known")
    if url.drivername == "sqlite" and url.database in {None, "", ":memory:"}:
        raise InvalidStore("the store's address names no file")
    query = dict(url.query)
    if "sslmode" in query:
        # libpq's name for the option; the driver calls it otherwise.
        query["ssl"] = query.pop("sslmode")
    return url.set(drivername=driver, query=query)


def describe(url: URL) -> str:
    """Return the address for the log: without user, password and options."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    host = url.host or url.query.get("host") or "localhost"
    return f"postgresql://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite database, else None."""
    if url.get_backend_name() != "sqlite" or url.database is None:
        return None
    return Path(url.database)
