"""The sum that keeps its rounding error."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from marketdata.kernels import KERNELS
from marketdata.sums import add_neumaier
from marketdata.warm import load_kernels

TERMS = st.lists(st.floats(-1e15, 1e15), max_size=50)


@KERNELS.add("UniTuple(float64, 2)(float64, float64, float64)")
def add_compiled(total: float, error: float, value: float) -> tuple[float, float]:
    """Call the inlined one as a kernel does."""
    return add_neumaier(total, error, value)


@given(TERMS)
def test_the_inlined_sum_is_the_plain_one(terms: list[float]) -> None:
    load_kernels()
    plain = compiled = (0.0, 0.0)
    for term in terms:
        plain, compiled = add_neumaier(*plain, term), add_compiled(*compiled, term)
    assert plain == compiled


def test_a_small_term_beside_large_ones_is_kept() -> None:
    total, error = 0.0, 0.0
    for term in (1.0, 1e100, 1.0, -1e100):
        total, error = add_neumaier(total, error, term)
    assert total + error == 2.0


def test_the_order_does_not_matter_and_the_sum_is_exact() -> None:
    random = Random(1)
    terms = [random.uniform(0, 1e9) for _ in range(10_000)]
    exact = float(sum(map(Fraction, terms)))
    for _ in range(3):
        random.shuffle(terms)
        total, error = 0.0, 0.0
        for term in terms:
            total, error = add_neumaier(total, error, term)
        assert total + error == exact
