"""How far an import came, and what is to be told of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

MAX_EXAMPLES = 5


@dataclass(slots=True)
class Progress:
    """What a restart needs to know; the rest is in the store already."""

    # Files before this one are read, of this one the rows up to and with ``row``.
    file: int = 0
    row: int = 0
    trades: int = 0
    # Rows that are no trades, by reason, and the first of them in words.
    bad: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    # Trades that no daily bar has.
    out_of_session: int = 0
    first_ts: int = 2**63 - 1
    last_ts: int = 0
    # Bars that are new or different in the store.
    written: int = 0

    def reject(self, reason: str, where: str) -> None:
        """Count a row that is no trade."""
        self.bad[reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(where)

    def to_json(self) -> str:
        """Return it as text."""
        # A Counter is no mapping that asdict() can make anew.
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(values | {"bad": dict(self.bad)})

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Return what :meth:`to_json` wrote."""
        known = json.loads(text)
        known["bad"] = Counter(known["bad"])
        return cls(**known)
