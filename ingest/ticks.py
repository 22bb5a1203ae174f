"""Read the ticks that the kernel leaves, one at a time, with the protobuf library."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from marketdata.timestamps import UnitHistory
from marketdata.validation import RejectReason, TickRules
from marketdata.wire.market_data_pb2 import Refusal, Tick, TickBatch

# A Tick is the repeated field of a TickBatch: this tag, its length and the serialized tick are its
# record in a batch.
_TICKS_TAG = TickBatch.TICKS_FIELD_NUMBER << 3 | 2
# A normalized Tick has at most 106 bytes, or 179 with decimals, a trade id, excludes and an action.
# So only with a trade id its length can be two bytes of varint.
_MAX_TICK_SIZE = 180
_LONG = 0x80
_PREFIXES = [
    bytes((_TICKS_TAG, size) if size < _LONG else (_TICKS_TAG, size & 0x7F | 0x80, size >> 7))
    for size in range(_MAX_TICK_SIZE + 1)
]
MAX_RECORD_SIZE = 3 + _MAX_TICK_SIZE


class TickReader:
    """Turn the payload of a frame into its record in a serialized :class:`TickBatch`."""

    def __init__(self, rules: TickRules) -> None:
        self._rules = rules
        # The serialized ingest time of the last tick; those of one read have it in common.
        self._stamped_ns: int | None = None
        self._stamp = b""

    def read(self, payload: bytes, now_ns: int, units: UnitHistory) -> bytes | RejectReason:
        """Return the record, or why the tick is dropped. 1.0 us, of which protobuf has 0.3."""
        try:
            tick = Tick.FromString(payload)
        except DecodeError:
            return RejectReason.MALFORMED
        amended = self._rules.amend(tick, now_ns, units)
        if isinstance(amended, RejectReason):
            return amended
        if amended:
            payload = tick.SerializeToString()
        # After a serialized tick it sets the field, whatever was there: the last one wins.
        stamp = self._stamp_of(now_ns)
        size = len(payload) + len(stamp)
        if size >= _LONG:
            # Fields we do not know may have come with it; the aggregator has no use for them.
            tick.DiscardUnknownFields()
            tick.ClearField("ingest_timestamp")
            payload = tick.SerializeToString()
            size = len(payload) + len(stamp)
        return _PREFIXES[size] + payload + stamp

    def refusal(self, payload: bytes, now_ns: int) -> Refusal | None:
        """Return what to remember of a tick that is dropped; None: nothing is known of it."""
        try:
            return self._rules.refusal(Tick.FromString(payload), now_ns)
        except DecodeError:
            return None

    def _stamp_of(self, now_ns: int) -> bytes:
        if now_ns != self._stamped_ns:
            self._stamped_ns = now_ns
            self._stamp = Tick(ingest_timestamp=now_ns).SerializeToString()
        return self._stamp
