"""Keep how far a source was sent in a small file, for the next run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from connect.errors import SourceFailed


def load_position(path: Path) -> dict[str, Any] | None:
    """Return what the file has, None if there is none.

    Raises:
        SourceFailed: it cannot be read.
    """
    try:
        stored = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise SourceFailed(f"cannot read the position {path}: {exc}") from exc
    if not isinstance(stored, dict):
        raise SourceFailed(f"cannot read the position {path}: it has no names")
    return stored


def save_position(path: Path, position: dict[str, Any]) -> None:
    """Write the file; a crash leaves the old one or the new one.

    Raises:
        SourceFailed: it cannot be written.
    """
    written = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written.open("w") as file:
            json.dump(position, file)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    except OSError as exc:
        hint = "--position names another place"
        raise SourceFailed(f"cannot write the position: {exc}; {hint}") from exc
