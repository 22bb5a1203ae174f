"""Parse frames and ticks in plain Python and protobuf: the oracle of the compiled parser."""

from __future__ import annotations

from collections import Counter

from google.protobuf.message import DecodeError

from marketdata.errors import WireError
from marketdata.producer.encoding import encode_varint
from marketdata.timestamps import UnitHistory
from marketdata.validation import RejectReason, TickRules
from marketdata.wire.market_data_pb2 import Tick, TickBatch
from tests.doubles.frame_decoder import FrameDecoder

# A Tick is the repeated field of a TickBatch, so a serialized one behind this tag and its length
# is already a record of a batch.
_TICKS_TAG = TickBatch.TICKS_FIELD_NUMBER << 3 | 2
# Without unknown fields a normalized Tick has at most 106 bytes, or 179 with all additions.
_MAX_SHORT_SIZE = 127


class PlainParser:
    """Turn the bytes of one connection into validated ticks.

    After a violation :attr:`failure` says why, and later data is ignored.
    """

    def __init__(self, rules: TickRules, max_frame_size: int) -> None:
        self._rules = rules
        self._decoder = FrameDecoder(max_frame_size)
        self.received_bytes = 0
        self.units = UnitHistory()
        self.accepted = 0
        self.rejected: Counter[str] = Counter()

    @property
    def failure(self) -> WireError | None:
        """What the producer did wrong, if it must be disconnected."""
        return self._decoder.failure

    @property
    def has_partial_frame(self) -> bool:
        """Whether a frame was begun and not finished."""
        return self._decoder.has_partial_frame

    def receive_data(self, data: bytes, now_ns: int) -> tuple[list[bytes], Counter[str]]:
        """Return the ticks completed by ``data``, up to the first violation, and the rejects.

        Each tick is its record of a serialized :class:`TickBatch`.
        """
        # 1.0 us per tick, of which protobuf has 0.3.
        self.received_bytes += len(data)
        records: list[bytes] = []
        rejected: Counter[str] = Counter()
        amend = self._rules.amend
        # Behind a serialized tick it sets the field, whatever stood there: the last one wins.
        stamp = Tick(ingest_timestamp=now_ns).SerializeToString()
        for payload in self._decoder.receive_data(data):
            try:
                tick = Tick.FromString(payload)
            except DecodeError:
                rejected[RejectReason.MALFORMED] += 1
                continue
            amended = amend(tick, now_ns, self.units)
            if amended is False:
                # Serializing again would cost a fifth of all this.
                record = payload + stamp
            elif amended is True:
                record = tick.SerializeToString() + stamp
            else:
                rejected[amended] += 1
                continue
            if len(record) > _MAX_SHORT_SIZE:
                # Fields we do not know came with it; the aggregator has no use for them.
                tick.DiscardUnknownFields()
                tick.ClearField("ingest_timestamp")
                record = tick.SerializeToString() + stamp
            records.append(bytes((_TICKS_TAG,)) + encode_varint(len(record)) + record)
        self.accepted += len(records)
        self.rejected.update(rejected)
        return records, rejected
