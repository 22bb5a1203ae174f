"""One market of an exchange: what was seen of it, and the gaps that are still open."""

from __future__ import annotations

from collections import deque

from connect.errors import BadTrade, SourceFailed
from connect.exchanges.client import RawTrade
from connect.exchanges.continuity import Continuity, Filling, Gap, Seen
from connect.exchanges.trades import read_trade
from connect.trades import Trade
from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol

# Beyond that the newest two become one.
MAX_GAPS = 16


class Market:
    """The trades of one market.

    Args:
        name: as ccxt writes it, such as ``BTC/USDT``.
        symbol: under which its trades are sent.
        id_prefix: put before the ids of trades.
        consecutive: whether the exchange numbers the trades of a market without gaps.
    """

    def __init__(self, name: str, symbol: str, id_prefix: str, *, consecutive: bool) -> None:
        self.name = name
        self.symbol = symbol
        self._id_prefix = id_prefix
        self._consecutive = consecutive
        self._continuity = Continuity(consecutive=consecutive)
        self.gaps: deque[Gap] = deque()

    def read(self, raw: RawTrade) -> tuple[Seen, Trade]:
        """Return a trade of ccxt as its place and as it is sent.

        Raises:
            BadTrade: a field is missing or not valid.
        """
        place, trade = read_trade(raw, self.symbol, self._id_prefix)
        if self._consecutive and not (place.id.isascii() and place.id.isdigit()):
            raise BadTrade("id", f"{place.id[:40]!r} is not a number")
        return place, trade

    def is_new(self, place: Seen) -> bool:
        """Return whether a live trade was not seen before."""
        return not self._continuity.knows(place.id)

    def add_live(self, place: Seen) -> bool:
        """Note a live trade; return whether there is a new gap before it."""
        gap = self._continuity.gap_before(place)
        self._continuity.add(place, live=True)
        return gap is not None and self._open(gap)

    @property
    def newest(self) -> Seen | None:
        """The latest trade so far; before it, trades may be missing only within open gaps."""
        return self.gaps[0].after if self.gaps else self._continuity.newest

    def resume(self, newest: Seen) -> None:
        """Go on after the newest trade of an earlier run."""
        self._continuity.resume(newest)
        self.cut()

    def cut(self) -> None:
        """Note that the connection was lost."""
        gap = self._continuity.cut()
        if gap is not None:
            self._open(gap)

    def start_filling(self, gap: Gap) -> Filling:
        """Return what judges the pages for a gap."""
        return Filling(gap, self._continuity, consecutive=self._consecutive)

    def _open(self, gap: Gap) -> bool:
        if len(self.gaps) >= MAX_GAPS:
            gap = Gap(self.gaps.pop().after, gap.before)
        self.gaps.append(gap)
        return True


def symbol_of(raw_market: RawTrade, style: str, prefix: str) -> str:
    """Return the symbol of a market of ccxt.

    Args:
        raw_market: of ccxt.
        style: ``dash`` (BTC-USDT), ``exchange`` (its own name) or ``unified`` (BTC/USDT).
        prefix: put before it.

    Raises:
        SourceFailed: it is not valid.
    """
    name: str = raw_market["id"] if style == "exchange" else raw_market["symbol"]
    if style == "dash":
        name = name.replace("/", "-")
    try:
        return normalize_symbol(f"{prefix}{name}")
    except InvalidSymbol as exc:
        raise SourceFailed(str(exc)) from exc
