"""How far an import has come, and the counts of its report."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

MAX_EXAMPLES = 5


@dataclass(slots=True)
class Progress:
    """What a restart reads back; everything else is in the store already."""

    # All files before this one are read, and the rows 1..``row`` of this one.
    file: int = 0
    row: int = 0
    trades: int = 0
    # Rows that are not valid trades, by reason, and the messages about the first of them.
    bad: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    # Trades outside of every trading day.
    out_of_session: int = 0
    first_ts: int = 2**63 - 1
    last_ts: int = 0
    # Rows whose trade was counted before: it has the same id.
    duplicates: int = 0
    # Bars that are new or different in the store.
    written: int = 0
    # Bars that were left as they were, because live trades came meanwhile.
    left: int = 0
    # Of the present file: its valid trades, those that were counted before, the time of the first
    # one, its other rows by reason, the unit of its times.
    file_trades: int = 0
    file_duplicates: int = 0
    file_first_ts: int = 0
    file_bad: Counter[str] = field(default_factory=Counter)
    unit_ns: int = 0

    def reject(self, reason: str, where: str) -> None:
        """Count a row that is not a valid trade."""
        self.bad[reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(where)

    def to_json(self) -> str:
        """Return all values as JSON."""
        # asdict() cannot copy a Counter.
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(values | {"bad": dict(self.bad), "file_bad": dict(self.file_bad)})

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Return what :meth:`to_json` wrote."""
        known = json.loads(text)
        known["bad"], known["file_bad"] = Counter(known["bad"]), Counter(known["file_bad"])
        return cls(**known)
