"""The hot loop of producer sessions: the ticks of a ``TickBatch`` in, their records out.

It takes the ticks that :mod:`ingest.kernel` takes, and stops at the first other one. Unlike there,
it leaves every tick that is not valid to the protobuf library, because its place must be kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.kernel import (
    COUNTS,
    MAX_RAW_SYMBOL,
    MIN_NUMBERS,
    RECORD_TAG,
    SYMBOL_TAG,
    factor_of,
    is_usual_trade,
    latest_in,
    max_volume_of,
    read_numbers,
    read_rules,
    read_symbol,
    write_record,
)
from marketdata.kernels import KERNELS
from marketdata.words import load_byte, load_word

# Why parse_records stopped.
DONE = 0  # it took every tick
FULL = 1  # as many ticks as there was room for
UNUSUAL = 2  # the tick at the position is not for this loop
OTHER = 3  # no whole tick is at the position


@KERNELS.add("UniTuple(int64, 4)(int64, int64, int64, int64, int64[::1], int64[::1])")
def parse_records(
    position: int,
    end: int,
    out: int,
    room: int,
    rules: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> tuple[int, int, int, int]:
    """Write the record of each valid tick, up to the first one that is not for this loop.

    Args:
        position: the address of the first byte of a tick, its tag.
        end: the address after the last byte.
        out: the address for the records: MAX_RECORD bytes for each of ``room``, then SLACK.
        room: how many ticks to take at most.
        rules: the numbers of Rules.
        counts: the numbers of COUNTS, to add to; the unit is that of the last time so far.

    Returns:
        Why it stopped, the position of the first tick that was not taken, where the records end,
        and how many were written.
    """
    code, ticks = DONE, 0
    rule = read_rules(rules)
    count = counts.view(COUNTS)[0]
    unit_ns = count.unit_ns
    while position < end:
        code = OTHER
        # The head of a tick has three bytes at most: more would be too long for a frame of one.
        size = load_byte(position + 1)
        start = position + 2
        if size > 0x7F:
            size = (size & 0x7F) | load_byte(start) << 7
            start += 1
        stop = start + size
        if load_byte(position) != RECORD_TAG or stop > end or size >= 1 << 14:
            break
        code = FULL
        if ticks == room:
            break
        head = load_word(start)
        raw_size = (head >> 8) & 0xFF
        price_at = start + 2 + raw_size
        code = UNUSUAL
        if (head & 0xFF) != SYMBOL_TAG or not 0 < raw_size <= MAX_RAW_SYMBOL:
            break
        if price_at + MIN_NUMBERS > stop:
            break
        symbol = read_symbol(start, raw_size, rule.upper)
        if not symbol.is_valid:
            break
        tick = read_numbers(start, price_at, stop)
        if not tick.is_usual:
            break
        factor = factor_of(tick.time, rule.unit_ns)
        max_volume = max_volume_of(tick.decimals, rules)
        if not is_usual_trade(tick, max_volume, factor, latest_in(rule.latest_ns, factor), rule):
            break
        code = DONE
        position = stop
        out = write_record(out, symbol, tick, factor, rule)
        if factor != 1:
            count.conversions += 1
        if factor != unit_ns:
            count.unit_changes += unit_ns != 0
            unit_ns = factor
        ticks += 1
    count.unit_ns = unit_ns
    return code, position, out, ticks
