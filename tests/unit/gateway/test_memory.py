"""The last known values."""

from __future__ import annotations

from gateway.backend.memory import LastValues
from gateway.kernel.encoder import EncodedState, encode_in_python
from marketdata.wire.market_data_pb2 import Aggregate


def state(symbol: str, sequence: int, epoch: int = 1) -> EncodedState:
    message = Aggregate(symbol=symbol, sequence=sequence, epoch=epoch)
    return encode_in_python(message.SerializeToString())


def test_a_value_is_recalled_with_its_age() -> None:
    values = LastValues(2)
    values.remember(state("A", 1), now=10.0)
    assert values.recall("A", now=12.5) == (state("A", 1), 2.5)
    assert values.recall("B", now=12.5) is None


def test_at_the_bound_the_symbol_remembered_longest_ago_is_forgotten() -> None:
    values = LastValues(2)
    values.remember(state("A", 1), now=1.0)
    values.remember(state("B", 1), now=2.0)
    values.remember(state("A", 2), now=3.0)
    values.remember(state("C", 1), now=4.0)
    assert values.recall("A", now=4.0) == (state("A", 2), 1.0)
    assert values.recall("B", now=4.0) is None
    assert values.recall("C", now=4.0) is not None


def test_an_answer_that_was_overtaken_does_not_replace_a_newer_one() -> None:
    values = LastValues(2)
    values.remember(state("A", 7), now=1.0)
    values.remember(state("A", 6), now=2.0)
    assert values.recall("A", now=2.0) == (state("A", 7), 1.0)


def test_sequences_of_another_epoch_do_not_compare() -> None:
    values = LastValues(2)
    values.remember(state("A", 7), now=1.0)
    values.remember(state("A", 1, epoch=2), now=2.0)
    assert values.recall("A", now=2.0) == (state("A", 1, epoch=2), 0.0)
