"""Where the numbers of a symbol and of a bar are, for the loops that are compiled.

A symbol has a row. What every trade touches is in ``hot_ints`` and ``hot_reals``, apart from the
rest, so that the rows of many symbols stay in the processor's cache. A closed bar, or one that
waits out the grace, has a place in the *pool*: a row of ``bars_ints`` and ``bars_reals``.
"""

from __future__ import annotations

# A candle: whole numbers, then prices and sums of money. Without trades the rest means nothing.
VOLUME, TRADES, FIRST_TS, FIRST_SEQUENCE, LAST_TS, LAST_SEQUENCE = range(6)
OPEN, HIGH, LOW, CLOSE, NOTIONAL, NOTIONAL_ERROR = range(6)
CANDLE = 6

# hot_ints: the base candle, which sums up the trades of the present base piece. Trades from
# LOW_TIME to before HIGH_TIME only add to it, while its volume stays within ROOM: no total of an
# open bar or the session, without it, is nearer to the limit.
LOW_TIME, HIGH_TIME, ROOM = 6, 7, 8
# The number of the batch that changed the state last, and how many states were published.
BATCH, SEQUENCE = 9, 10
HOT_INTS = 16
# hot_reals: the base candle.
HOT_REALS = 8

# ints: when the base piece begins and ends, and from when on a trade begins another.
BASE_START, BASE_END, NEXT_AT = range(3)
# The latest exchange time, as far as the base candle does not know it; -1 before the first.
LATEST = 3
SESSION_START, SESSION_END = 4, 5
# Whether the base candle is of the present session.
IN_SESSION = 6
# Before it nothing ends: neither the base piece, nor a bar, nor a grace.
DUE_AT = 7
# Whether the wall clock closes bars, and when it looks next; 0: it does not.
LIVE, TIMER_AT = 8, 9
# How sessions are found: one of BY_PYTHON, UTC_DAY, NO_SESSION. Python's last answer holds for
# KNOWN_FROM <= time < KNOWN_TO: start and end of the session, the same if there is none.
RULE, KNOWN_FROM, KNOWN_TO, KNOWN_START, KNOWN_END = range(10, 15)
BASE_ANCHOR = 15
# How many bars wait out the grace.
EARLY_COUNT = 16
# The number of the batch in which a trade was more than an addition to the base candle.
MOVED = 17
# Of Python's last answer: start and end of the daily bar, the same if there is none.
KNOWN_DAY_START, KNOWN_DAY_END = 18, 19
# Whether it was restored, and is no symbol of the present life yet.
UNOPENED = 20
# The candle of the session, then the lanes: one for each interval by the clock.
SESSION = 24
LANES = 30
LANE = 20
# Of a lane: its open bar, none while START = END; the length of its bars, 0: days, and their
# offset.
START, END, SIZE, ANCHOR = range(4)
# How many states were published; that of the open bar's last one, 0 before.
LANE_SEQUENCE, OPEN_SEQUENCE = 4, 5
# The latest start of a bar that was closed and given up to make room.
EVICTED_UNTIL = 6
# Places in the pool, -1: none. Both lists are in the order of the starts.
EARLY_FIRST, CLOSED_FIRST, CLOSED_LAST = 7, 8, 9
# Whether somebody wants the bars of this symbol and interval by name.
WANTED = 10
# The index in PHASES of the open bar; -1: Python is to find out.
LANE_PHASE = 11
LANE_CANDLE = 14

# reals: no sum of money of an open bar or the session, without the base candle, is nearer to the
# limit than this; the candle of the session; those of the lanes.
MONEY_ROOM = 0
SESSION_REALS = 2
LANE_REALS = 8

# bars_ints: a candle, then:
# COVERAGE is 0 until Python was asked; a revised bar keeps the one with which it closed.
BAR_ROW, BAR_LANE, BAR_START, BAR_END, STATE, REVISION, COVERAGE, PHASE = range(6, 14)
BAR_SEQUENCE = 14
# Its neighbours among the lane's bars, which follow each other by start.
NEXT, PREVIOUS = 15, 16
# Its place among the events that were not told yet, plus 1; 0: none.
EVENT = 17
# Its neighbours among all closed bars, in the order in which they closed.
NEXT_CLOSED, PREVIOUS_CLOSED = 18, 19
# Its place among the bars that late trades of this batch changed, plus 1; 0: none.
TOUCHED = 20
BAR_INTS = 24
BAR_REALS = 6

PHASES = ("", "pre", "regular", "post", "closed")

# What is one for all symbols.
N_LANES, GRACE, REVISE, LIVE_WITHIN, BASE_NS, MAX_CLOSED = range(6)
# When the trades of this batch arrived; 0: none of them is of the present.
NOW = 6
# The latest exchange time of a trade that was more than an addition.
CLOCK = 7
# How much of each list is filled.
N_EVENTS, N_TOUCHED, N_MOVED, N_ENDS, N_FREE, N_LIMBO = range(8, 14)
# How many closed bars there are, the one that closed first and the one that did last.
N_CLOSED, OLDEST, NEWEST = 14, 15, 16
# Trades that were accepted and did not count everywhere; see TradeCounts.
LATE, OUT_OF_SESSION, BARS_LATE, BARS_EVICTED = range(17, 21)
# Closed bars that were given up to make room while they could be revised.
EVICTED = 21
BATCH_NUMBER = 22
# Whether somebody wants the bars of every symbol, by lane.
WANT_ALL = 32
MAX_LANES = 62
DESK_INTS = WANT_ALL + MAX_LANES

BY_PYTHON, UTC_DAY, NO_SESSION = range(3)
MAX_INT64 = 2**63 - 1
NEVER = MAX_INT64
