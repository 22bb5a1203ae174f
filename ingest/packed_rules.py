"""The rules of ticks as the kernels read them."""

from __future__ import annotations

from struct import Struct

import numpy as np

from ingest import kernel
from marketdata.timestamps import fixed_unit
from marketdata.validation import MAX_VOLUME_DECIMALS, TickRules
from marketdata.wire.market_data_pb2 import Tick

# kernel.Rules, with the serialized ingest time as bytes.
_RULES = Struct("=qqqqq16sd")


class PackedRules:
    """The numbers of ``kernel.Rules``, in :attr:`numbers`.

    Args:
        rules: the rules.
        max_frame_size: bytes in one frame.
    """

    def __init__(self, rules: TickRules, max_frame_size: int) -> None:
        self._rules = rules
        self._max_frame_size = max_frame_size
        self._unit_ns = fixed_unit(rules.timestamp_unit)
        self.numbers = np.zeros(kernel.RULES_SIZE, np.int64)
        max_volumes = [rules.limits.max_scaled(each) for each in range(MAX_VOLUME_DECIMALS + 1)]
        self.numbers[-len(max_volumes) :] = max_volumes
        self._bytes = self.numbers.view(np.uint8).data

    def set_time(self, now_ns: int) -> None:
        """Prepare for ticks that arrive at this time."""
        stamp = Tick(ingest_timestamp=now_ns).SerializeToString()
        _RULES.pack_into(
            self._bytes,
            0,
            self._max_frame_size,
            self._unit_ns,
            self._rules.latest_ns(now_ns),
            self._rules.symbol_case == "upper",
            len(stamp),
            stamp,
            self._rules.limits.max_price,
        )
