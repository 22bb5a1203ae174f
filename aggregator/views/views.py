"""Keep the views that are turned on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from aggregator.views.last_trade import LastTrade
from aggregator.views.view import States, Trades, View
from aggregator.views.volume_profile import VolumeProfile
from marketdata.errors import MarketDataError

#: All views that there are; a new one is a class with one method, and a place here.
VIEWS: Sequence[View] = (LastTrade(), VolumeProfile())


VIEW_NAMES = tuple(view.name for view in VIEWS)


def parse_views(text: str) -> list[str]:
    """Return the names in a comma-separated list, each once."""
    return list(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


class UnknownView(MarketDataError):
    """There is no such view, or it is not turned on."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(known)
        super().__init__(f"there is no view {name!r}; AGGREGATOR_VIEWS has {names or 'none'}")


class Views:
    """The states of some views, by view and symbol.

    Args:
        names: which of :data:`VIEWS`.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        by_name = {view.name: view for view in VIEWS}
        self._views = {name: by_name[name] for name in names}
        self._states: dict[str, States] = {name: {} for name in self._views}
        # The arrival time of the first trade since a view was turned on.
        self._since: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._views)

    def add(self, trades: Trades, now_ns: int) -> None:
        """Take the trades of a batch that arrived now."""
        for name, view in self._views.items():
            self._since.setdefault(name, now_ns)
            view.add(self._states[name], trades)

    def read(self, name: str, symbol: str) -> bytes | None:
        """Return the state of a symbol as JSON, or None if it has none.

        Raises:
            UnknownView: there is no such view.
        """
        if name not in self._views:
            raise UnknownView(name, self._views)
        state = self._states[name].get(symbol)
        if state is None:
            return None
        head = {"symbol": symbol, "view": name, "sinceNs": str(self._since[name])}
        return orjson.dumps({**head, **state})

    def dump_state(self) -> dict[str, Any]:
        """Return the states of all views."""
        return {"states": self._states, "since": self._since}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take the states of other views; a view without one begins now."""
        for name in self._views:
            if name in state["states"]:
                self._states[name] = state["states"][name]
        self._since = {name: at for name, at in state["since"].items() if name in self._views}
