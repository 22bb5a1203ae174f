"""The release that writes the files, so that another one can name it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _read() -> str:
    try:
        return version("market-data-server")
    except PackageNotFoundError:
        return "unknown"


RELEASE = _read()
