"""Encode ticks into frames, and join the frames of each connection into large writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from struct import Struct
from types import MappingProxyType
from typing import NamedTuple
from zlib import crc32

from fakeclient.bad import BadKind, BadMix, spoil
from fakeclient.ticks import Row
from marketdata.files.trades import Trade
from marketdata.producer.encoding import record_head
from marketdata.symbols import normalize_symbol
from marketdata.wire.market_data_pb2 import Tick

MAX_ROUTES = 200_000

_LENGTH = Struct(">I")
_NO_BAD: Mapping[BadKind, int] = MappingProxyType({})


class Parcel(NamedTuple):
    """Whole frames for one connection, written at once."""

    data: bytes
    # Frames in data, bad ones included.
    ticks: int
    bad: Mapping[BadKind, int] = _NO_BAD
    # Whether the last frame makes the server close the connection.
    closes: bool = False


# One list per connection; a list has more than one parcel only where a frame closes.
Parcels = list[list[Parcel]]


class Packer:
    """Frame ticks for a number of connections.

    A symbol always goes to the same connection, however it is spelled. So its ticks stay in order.

    Args:
        connections: how many there are.
        bad_mix: which ticks are made bad.
        acks: whether a tick gets the head that it has in the batch of a producer session, in place
            of that of a frame.
        decimals: of the volumes, which count 10^-decimals.
        has_ids: whether a good tick gets its exchange time as the id of its trade.
    """

    def __init__(
        self,
        connections: int = 1,
        bad_mix: BadMix | None = None,
        *,
        acks: bool = False,
        decimals: int = 0,
        has_ids: bool = False,
    ) -> None:
        self._connections = connections
        self._bad_mix = bad_mix
        self._acks = acks
        self._decimals = decimals
        self._has_ids = has_ids
        self._pack_head = record_head if acks else _LENGTH.pack
        # The connection of each spelling. A walk has 100,000 at most; beyond MAX_ROUTES, which only
        # a file can have, it is emptied and filled again.
        self._routes: dict[str, int] = {}

    def pack(self, rows: Iterable[Row]) -> Parcels:
        """Return ``rows`` as frames, for each connection in order."""
        if self._bad_mix is None:
            return self._pack_good(rows)
        return self._pack_mixed(rows, self._bad_mix)

    def _pack_good(self, rows: Iterable[Row]) -> Parcels:
        # The hot loop: one message object reused costs 0.7 µs per tick, a new one each 1.0 µs.
        routes, pack_head, has_ids = self._routes, self._pack_head, self._has_ids
        frames: list[list[bytes]] = [[] for _ in range(self._connections)]
        tick = Tick(volume_decimals=self._decimals)
        serialize = tick.SerializeToString
        for symbol, price, volume, ts_ns in rows:
            route = routes.get(symbol)
            if route is None:
                route = self._learn_route(symbol)
            tick.symbol = symbol
            tick.price = price
            tick.volume = volume
            tick.exchange_timestamp = ts_ns
            if has_ids:
                tick.trade_id = b"%d" % ts_ns
            payload = serialize()
            # Twice extend by one beats one concatenation per frame.
            frames[route] += (pack_head(len(payload)), payload)
        return [[Parcel(b"".join(parts), len(parts) // 2)] if parts else [] for parts in frames]

    def pack_trades(self, trades: Iterable[Trade]) -> Parcels:
        """Return the trades of a file as frames, for each connection in order."""
        routes, pack_head = self._routes, self._pack_head
        frames: list[list[bytes]] = [[] for _ in range(self._connections)]
        tick = Tick()
        serialize = tick.SerializeToString
        for symbol, price, volume, time, decimals, trade_id, excludes in trades:
            route = routes.get(symbol)
            if route is None:
                route = self._learn_route(symbol)
            tick.symbol = symbol
            tick.price = price
            tick.volume = volume
            tick.exchange_timestamp = time
            tick.volume_decimals = decimals
            tick.trade_id = trade_id
            tick.excludes = excludes
            payload = serialize()
            frames[route] += (pack_head(len(payload)), payload)
        return [[Parcel(b"".join(parts), len(parts) // 2)] if parts else [] for parts in frames]

    def _pack_mixed(self, rows: Iterable[Row], bad_mix: BadMix) -> Parcels:
        parcels: Parcels = [[] for _ in range(self._connections)]
        frames: list[list[bytes]] = [[] for _ in range(self._connections)]
        bad: list[Counter[BadKind]] = [Counter() for _ in range(self._connections)]

        def close_parcel(route: int, *, closes: bool) -> None:
            data = b"".join(frames[route])
            parcels[route].append(Parcel(data, len(frames[route]), bad[route], closes))
            frames[route], bad[route] = [], Counter()

        for row in rows:
            symbol, price, volume, ts_ns = row
            route = self._routes.get(symbol)
            if route is None:
                route = self._learn_route(symbol)
            kind = bad_mix.next_kind()
            if kind is None:
                tick = Tick(symbol=symbol, price=price, volume=volume, exchange_timestamp=ts_ns)
                tick.volume_decimals = self._decimals
                tick.trade_id = b"%d" % ts_ns if self._has_ids else b""
                payload = tick.SerializeToString()
            else:
                payload = spoil(kind, row)
                bad[route][kind] += 1
            # Not encode_frame: it refuses the empty payload.
            frames[route].append(self._pack_head(len(payload)) + payload)
            # In a session, an empty tick is one bad tick, and no end of the connection.
            if kind is BadKind.EMPTY_PAYLOAD and not self._acks:
                close_parcel(route, closes=True)
        for route, parts in enumerate(frames):
            if parts:
                close_parcel(route, closes=False)
        return parcels

    def _learn_route(self, spelling: str) -> int:
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        # Not hash(): that of a string differs from run to run. In upper case, because a server may
        # be set to take symbols so.
        route = crc32(normalize_symbol(spelling, "upper").encode()) % self._connections
        self._routes[spelling] = route
        return route
