"""Why a loop stopped."""

from __future__ import annotations

DONE = 0  # it took everything
UNUSUAL = 1  # the next tick is not for this loop
NEED_ROOM = 2  # a table is full
NEED_RULE = 3  # it does not know the session of the next tick
OVERFLOW = 4  # with the next tick a total would overflow; nothing has changed
NEED_SCALE = 6  # the volume of the next tick does not fit the scale of its symbol
MARKED = 7  # the next tick has decimals, an id or conditions
AMEND = 8  # the next tick cancels or corrects a trade
NEED_OPEN = 5  # the symbol of the next tick was restored, and nobody opened it yet
