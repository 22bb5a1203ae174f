"""The errors of the tick log.

::

    StartError
    ├── LogUnusable        the directory cannot be used
    ├── UnknownFormat      another release wrote the file
    ├── UnknownKind        another release wrote the record
    └── CorruptRecord      damage, and valid records after it
    MarketDataError
    ├── OffsetGone         the record was truncated
    └── NoCheckpoint       there is no whole checkpoint at this offset
"""

from __future__ import annotations

from pathlib import Path

from marketdata.errors import MarketDataError, StartError


class LogUnusable(StartError):
    """The directory of the log cannot be used; the message says why."""

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(f"tick log {directory}: {reason}")
        self.directory = directory
        self.reason = reason


class UnknownFormat(StartError):
    """A file has a format that this release does not read."""

    def __init__(self, path: Path, version: int, release: str, known: int) -> None:
        super().__init__(
            f"{path} has format version {version}, written by release {release or 'unknown'}; "
            f"this release reads version {known}: start release {release or 'unknown'} or a newer "
            "one"
        )
        self.path = path
        self.version = version
        self.release = release


class UnknownKind(StartError):
    """A valid record holds something that this release does not know."""

    def __init__(self, path: Path, kind: int, offset: int, release: str) -> None:
        super().__init__(
            f"{path}: record {offset} is of kind {kind}, which this release does not know; start "
            f"release {release or 'unknown'} or a newer one"
        )
        self.path = path
        self.kind = kind
        self.offset = offset
        self.release = release


class CorruptRecord(StartError):
    """A record is damaged or missing, and valid records follow it."""

    def __init__(self, path: Path, position: int, offset: int, reason: str) -> None:
        super().__init__(
            f"{path}: record {offset} at byte {position} is corrupt ({reason}) and valid records "
            "follow; --skip-corrupt continues after it"
        )
        self.path = path
        self.position = position
        self.offset = offset
        self.reason = reason


class OffsetGone(MarketDataError):
    """The log does not have this record any more."""

    def __init__(self, offset: int, first: int) -> None:
        super().__init__(f"record {offset} was truncated, the log starts at {first}")
        self.offset = offset
        self.first = first


class NoCheckpoint(MarketDataError):
    """There is no whole checkpoint at this offset."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
