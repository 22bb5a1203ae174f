"""Where the columns of each row, lane and bar have what.

Candles lie in two arrays, whole numbers in one, prices and sums in the other, each CANDLE columns
wide. A candle without trades is none: its other columns mean nothing.
"""

from __future__ import annotations

# A candle: whole numbers, then prices and sums.
VOLUME, TRADES, FIRST_TS, FIRST_SEQUENCE, LAST_TS, LAST_SEQUENCE = range(6)
OPEN, HIGH, LOW, CLOSE, NOTIONAL, NOTIONAL_ERROR = range(6)
CANDLE = 6
# hot_ints: base candle of each row, then:
LOW_TIME, HIGH_TIME, ROOM, BATCH, SEQUENCE = 6, 7, 8, 9, 10
HOT_INTS = 16
# hot_reals: base candle, 2 unused
HOT_REALS = 8
# ints of each row:
(
    BASE_START,
    BASE_END,
    NEXT_AT,
    LATEST,
    SESSION_START,
    SESSION_END,
    IN_SESSION,
    DUE_AT,
    LIVE,
    TIMER_AT,
) = range(10)
# The session's candle.
SESSION = 24
# Then LANE columns for each interval by the clock.
LANES = 30
LANE = 20
# Of a lane, relative to LANES + LANE * lane:
(
    START,
    END,
    SIZE,
    ANCHOR,
    LANE_SEQUENCE,
    OPEN_SEQUENCE,
    EVICTED_UNTIL,
    EARLY_FIRST,
    CLOSED_FIRST,
    CLOSED_LAST,
    WANTED,
    LANE_PHASE,
) = range(12)
LANE_CANDLE = 14
# reals of each row:
MONEY_ROOM = 0
SESSION_REALS = 2
# Then CANDLE columns for each lane: LANE_REALS + CANDLE * lane.
LANE_REALS = 8
# bars_ints of each bar of the pool: candle in 0..5, then:
(
    BAR_ROW,
    BAR_LANE,
    BAR_START,
    BAR_END,
    STATE,
    REVISION,
    COVERAGE,
    PHASE,
    BAR_SEQUENCE,
    NEXT,
    PREVIOUS,
    EVENT,
    NEXT_CLOSED,
    PREVIOUS_CLOSED,
) = range(6, 20)
BAR_INTS = 20
BAR_REALS = 6
# PHASE and LANE_PHASE: index into ("", "pre", "regular", "post", "closed").
