"""Read trades out of the records of a source, and say the first one that is bad."""

from __future__ import annotations

from collections.abc import Iterator

from connect.errors import BadTrade
from connect.mapping import FieldMap
from connect.settings import ConnectSettings
from connect.states import States
from connect.trades import Trade


class Records:
    """Records of one source; :attr:`bad` counts those that are no valid trades.

    Args:
        settings: name the fields.
        states: says the first bad one.

    Raises:
        SourceFailed: the fields are not named as they should be.
    """

    def __init__(self, settings: ConnectSettings, states: States) -> None:
        self._fields = FieldMap(
            settings.map,
            symbol=settings.symbol,
            each=settings.each,
            unit=settings.timestamp_unit,
            symbol_prefix=settings.symbol_prefix,
            id_prefix=settings.trade_id_prefix,
        )
        self._states = states
        self.bad = 0
        self._others = 0

    def trades(self, message: object, place: str, default_id: str = "") -> Iterator[Trade]:
        """Return the trades of a message.

        Args:
            message: what JSON or a row of a file has.
            place: where it stands in the source, for people.
            default_id: identifies trades that have no id.
        """
        for number, record in enumerate(self._fields.records(message)):
            # One record of several has a number too.
            name = f"{default_id}/{number}" if default_id and number else default_id
            try:
                trade = self._fields.read(record, message, name)
            except BadTrade as exc:
                self.note_bad(f"{place}: {exc}")
                continue
            if trade is not None:
                yield trade
                continue
            self._others += 1
            if self._others == 1:
                self._states.say(
                    f"passed over {place}, it is no trade: {record!r:.120} (said once)"
                )

    def note_bad(self, problem: str) -> None:
        """Count a bad record."""
        self.bad += 1
        if self.bad == 1:
            self._states.warn(f"dropped {problem} (said once, counted)")
