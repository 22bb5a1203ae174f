"""Make up live trades: a seeded random walk over a set of symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from random import Random

from fakeclient.ticks import Row
from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol

KNOWN_SYMBOLS = (
    *("AAPL", "MSFT", "GOOGL", "AMZN", "NVDA", "META", "TSLA", "JPM", "V", "UNH"),
    *("XOM", "JNJ", "WMT", "PG", "KO", "IBM", "BAC", "AIG", "SPY", "BRK.B"),
)

# As many as the aggregator keeps by default.
MAX_SYMBOLS = 100_000

# What the fakeclient sends unless it is told otherwise, in ticks per second.
USUAL_RATE = 1000.0
# The standard deviation of a price's move within a minute: that of a large share on a usual day.
MINUTE_MOVE = 0.0006
# How long prices are drawn back over. They stay within 2 % of where they began.
PULL_MINUTES = 240.0


def choose_symbols(wish: str) -> tuple[str, ...]:
    """Return the symbols for a count ("500") or a comma list ("AAPL,MSFT").

    A count takes the well-known ones first, then S00021, S00022, ...

    Raises:
        ValueError: the count is out of bounds, or a name is not a symbol.
    """
    if wish.isascii() and wish.strip().isdecimal():
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
    """Return ``symbol`` as a careless producer writes it: AAPL becomes " aApL ".

    Ingest trims it to aApL, which is another symbol than AAPL unless INGEST_SYMBOL_CASE is upper.
    """
    letters = (c.upper() if i % 2 else c.lower() for i, c in enumerate(symbol))
    return f" {''.join(letters)} "


class RandomWalk:
    """Walk prices at random, in whole cents and always above zero, with the calm of a market.

    Each symbol has a value that moves by 0.06 % in a usual minute and is drawn back to where it
    began over some hours; its trades are at the cents below and above the value. The ticks depend
    on ``chance`` alone, not on how many are taken at once.

    Args:
        symbols: the names.
        chance: the source of all randomness.
        messy: whether symbols are spelled as careless producers do.
        rate: ticks per second of all symbols together; only the size of a step depends on it.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        chance: Random,
        *,
        messy: bool = False,
        rate: float = USUAL_RATE,
    ) -> None:
        self._spellings = [messy_spelling(s) for s in symbols] if messy else list(symbols)
        self._row_of = {symbol: row for row, symbol in enumerate(symbols)}
        self._random = chance.random
        ticks_per_minute = max(1.0, rate * 60 / len(symbols))
        # A number from -0.5 to 0.5 has the standard deviation 1 / sqrt(12).
        self._step = MINUTE_MOVE * sqrt(12 / ticks_per_minute)
        self._pull = 1 / (PULL_MINUTES * ticks_per_minute)
        # In cents: where each symbol is now, and where it is drawn to.
        self._homes = [float(chance.randint(20_00, 500_00)) for _ in symbols]
        self._values = list(self._homes)

    def go_on_from(self, prices: Mapping[str, float]) -> None:
        """Let the symbols that have a price there begin at it."""
        for symbol, price in prices.items():
            row = self._row_of[symbol]
            self._homes[row] = self._values[row] = max(1.0, price * 100)

    def take(self, count: int, now_ns: int) -> list[Row]:
        """Return the next ``count`` ticks, the first at ``now_ns``, each 1 ns after the other."""
        random, values, homes, spellings = self._random, self._values, self._homes, self._spellings
        step, pull = self._step, self._pull
        symbols = len(spellings)
        rows: list[Row] = []
        for ts_ns in range(now_ns, now_ns + count):
            i = int(random() * symbols)
            value, home = values[i], homes[i]
            values[i] = value = value + (random() - 0.5) * step * home + (home - value) * pull
            size = 1 + int(random() * 500)
            # Sellers take the cent below the value, buyers the one above. Odd sizes are buyers'.
            cents = int(value) + (size & 1)
            rows.append((spellings[i], (cents if cents > 0 else 1) / 100, size, ts_ns))
        return rows
