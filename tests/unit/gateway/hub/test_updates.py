"""What the hub keeps of a state."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.encoding import aggregate_to_dict
from gateway.hub.updates import AggregateUpdate, Update
from marketdata.wire.encoded_updates_pb2 import EncodedUpdates
from marketdata.wire.market_data_pb2 import Aggregate, UpdateBatch

PRICES = st.floats(allow_nan=False)
NUMBERS = st.integers(0, 2**63 - 1)
STATES = st.builds(
    Aggregate,
    symbol=st.text(max_size=32),
    open=PRICES,
    high=PRICES,
    low=PRICES,
    close=PRICES,
    volume=NUMBERS,
    timestamp=st.integers(-(2**63), 2**63 - 1),
    trades=NUMBERS,
    vwap=PRICES,
    session_start=NUMBERS,
    sequence=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**64 - 1),
)


@given(STATES)
def test_a_state_is_the_same_without_the_message_it_came_in(state: Aggregate) -> None:
    batch = UpdateBatch(updates=[state])
    (record,) = EncodedUpdates.FromString(batch.SerializeToString()).updates
    update = AggregateUpdate(record)
    before = update.to_dict()
    assert update.aggregate == state
    assert update.to_dict() == before == aggregate_to_dict(state)
    assert (update.symbol, update.sequence, update.epoch) == (
        state.symbol,
        state.sequence,
        state.epoch,
    )


def test_a_form_is_computed_once_until_it_is_shed() -> None:
    update, computed = AggregateUpdate(Aggregate(symbol="A").SerializeToString()), []

    def encode(each: Update) -> int:
        computed.append(each)
        return len(computed)

    assert [update.form(encode), update.form(encode)] == [1, 1]
    update.shed_forms()
    assert [update.form(encode), update.form(encode)] == [2, 2]
