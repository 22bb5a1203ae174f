"""Read the setting that says how long bars are kept."""

from __future__ import annotations

import re

from marketdata.errors import MarketDataError
from marketdata.intervals import parse_interval
from marketdata.timestamps import NS_PER_S

_PERIOD = re.compile(r"([1-9][0-9]{0,4})([hdwy])")
_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 366 * 86_400}


def read_retention(value: str) -> dict[str, int]:
    """Return how long bars are kept, in ns by interval; other intervals are kept for ever.

    ``1s=7d,1m=90d`` keeps bars of a second for seven days and bars of a minute for ninety. Periods
    have the units h, d, w and y. ``none`` keeps all bars.

    Raises:
        ValueError: it has another form.
    """
    kept: dict[str, int] = {}
    if value == "none":
        return kept
    for part in filter(None, map(str.strip, value.split(","))):
        name, _, period = (word.strip() for word in part.partition("="))
        try:
            interval = parse_interval(name)
        except MarketDataError as exc:
            raise ValueError(str(exc)) from exc
        if interval.is_long:
            raise ValueError(f"{name} is not stored: it is made of 1d bars when read")
        found = _PERIOD.fullmatch(period)
        if found is None:
            raise ValueError(
                f"{part[:40]!r} is not INTERVAL=PERIOD, such as 1s=7d; periods: h d w y"
            )
        kept[name] = int(found[1]) * _SECONDS[found[2]] * NS_PER_S
    return kept
