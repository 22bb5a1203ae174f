"""Why a checkpoint cannot be loaded."""

from __future__ import annotations

from collections.abc import Sequence

from marketdata.errors import MarketDataError


class CheckpointError(MarketDataError):
    """A checkpoint cannot be loaded."""


class DamagedCheckpoint(CheckpointError):
    """The bytes are not a checkpoint, or not all of one."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the checkpoint is damaged: {problem}")


class UnknownVersion(CheckpointError):
    """Another release wrote the checkpoint, in a format that this one does not read."""

    def __init__(self, version: int, release: str, known: int) -> None:
        super().__init__(
            f"the checkpoint has format {version}, this release reads format {known}; "
            f"release {release} wrote it and reads it"
        )
        self.version = version
        self.release = release
        self.known = known


class StateMismatch(CheckpointError):
    """The checkpoint was made with other settings, or has other records, than this process."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__(f"the checkpoint does not fit this aggregator: {'; '.join(differences)}")
        self.differences = list(differences)
