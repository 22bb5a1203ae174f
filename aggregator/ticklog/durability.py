"""When records are synced to the disk, as the setting says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_INTERVAL = re.compile(r"interval:([1-9][0-9]{0,5})(ms|s)")


@dataclass(frozen=True, slots=True)
class Durability:
    """When the disk is asked to keep what was written.

    ``batch``: before a record is done. ``interval``: a record is done when it is written, and
    synced at most ``interval_s`` later. ``never``: whenever the kernel does it.
    """

    mode: Literal["batch", "interval", "never"]
    interval_s: float = 0.0

    @property
    def syncs(self) -> bool:
        """Whether it syncs at all."""
        return self.mode != "never"


def parse_durability(text: str) -> Durability:
    """Return the durability that a setting names: ``batch``, ``interval:100ms`` or ``never``.

    Raises:
        ValueError: it has another form.
    """
    if text == "batch":
        return Durability("batch")
    if text == "never":
        return Durability("never")
    found = _INTERVAL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not batch, never or an interval such as interval:100ms")
    return Durability("interval", int(found[1]) / (1000 if found[2] == "ms" else 1))
