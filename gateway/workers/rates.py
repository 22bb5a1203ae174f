"""A leaky bucket in one number, which is easily shared.

That number is when the bucket will be empty, in seconds on a clock that all who share it have.
"""

from __future__ import annotations

# Of the time between two requests; less than sums of floats are off by.
_SLACK = 1e-3


def pour(empty_at: float, now: float, rate: float) -> float | None:
    """Return when the bucket will be empty with one request more, or None if it is full.

    One second's worth fits, and at least one request.
    """
    interval = 1 / rate
    after = max(empty_at, now) + interval
    return after if after <= now + interval * (max(rate, 1) + _SLACK) else None
