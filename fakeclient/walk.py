"""Make up live trades: a seeded random walk over a set of symbols."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol
from marketdata.trades import Row

KNOWN_SYMBOLS = (
    *("AAPL", "MSFT", "GOOGL", "AMZN", "NVDA", "META", "TSLA", "JPM", "V", "UNH"),
    *("XOM", "JNJ", "WMT", "PG", "KO", "IBM", "BAC", "AIG", "SPY", "BRK.B"),
)

# As many as the aggregator keeps by default.
MAX_SYMBOLS = 100_000


def choose_symbols(wish: str) -> tuple[str, ...]:
    """Return the symbols for a count ("500") or a comma list ("AAPL,MSFT").

    A count takes the well-known ones first, then S00021, S00022, ...

    Raises:
        ValueError: the count is out of bounds, or a name is not a symbol.
    """
    if wish.strip().isdecimal():
        count = int(wish)
        if not 1 <= count <= MAX_SYMBOLS:
            raise ValueError(f"{count} symbols asked for, 1 to {MAX_SYMBOLS} are possible")
        made_up = (f"S{number:05}" for number in range(len(KNOWN_SYMBOLS) + 1, count + 1))
        return (*KNOWN_SYMBOLS[:count], *made_up)
    try:
        # A dict keeps the order and drops repetitions.
        return tuple(dict.fromkeys(normalize_symbol(name) for name in wish.split(",")))
    except InvalidSymbol as exc:
        raise ValueError(str(exc)) from exc


def messy_spelling(symbol: str) -> str:
    """Return ``symbol`` as a careless producer writes it: AAPL becomes " aApL "."""
    letters = (c.upper() if i % 2 else c.lower() for i, c in enumerate(symbol))
    return f" {''.join(letters)} "


class RandomWalk:
    """Walk prices at random, in steps of one cent and always above zero.

    The ticks depend on ``chance`` alone, not on how many are taken at once.
    """

    def __init__(self, symbols: Sequence[str], chance: Random, *, messy: bool = False) -> None:
        self._spellings = [messy_spelling(s) for s in symbols] if messy else list(symbols)
        self._random = chance.random
        self._cents = [chance.randint(20_00, 500_00) for _ in symbols]

    def take(self, count: int, now_ns: int) -> list[Row]:
        """Return the next ``count`` ticks, the first at ``now_ns``, each 1 ns after the other."""
        random, cents, spellings = self._random, self._cents, self._spellings
        symbols = len(spellings)
        rows: list[Row] = []
        for ts_ns in range(now_ns, now_ns + count):
            i = int(random() * symbols)
            price = cents[i]
            # At most 0.05 % or a cent, as likely up as down. The floor keeps prices positive.
            price += int((random() - 0.5) * (price * 0.001 + 4))
            cents[i] = price = max(price, 1)
            rows.append((spellings[i], price / 100, 1 + int(random() * 500), ts_ns))
        return rows
