"""Sum floats with the rounding error kept beside the total (Neumaier's sum).

A plain sum of a million terms is off by up to 1e-10 and depends on their order.
"""

from __future__ import annotations

from marketdata.kernels import inlined


@inlined
def add_neumaier(total: float, error: float, value: float) -> tuple[float, float]:
    """Return the total and the error after ``value`` is added; their sum is the exact one.

    Kernels inline it.
    """
    after = total + value
    if abs(total) >= abs(value):
        return after, error + ((total - after) + value)
    return after, error + ((value - after) + total)
