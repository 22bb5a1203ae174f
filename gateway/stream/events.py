"""The rules of a stream over SSE (HTML standard, 9.2 "Server-sent events")."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from gateway.bars.query import build_subscription
from gateway.clients.farewell import Farewell
from gateway.clients.shared import SharedMessages
from gateway.encoding import INTERVAL_COMPLETE
from gateway.hub.hub import TooManySymbols
from gateway.hub.subscription import Resume, Subscription
from gateway.hub.updates import BarUpdate, Delivery, FeedStatus, Policy, Update
from gateway.live.session import Sessions
from gateway.stream.client import StreamClient
from gateway.stream.messages import (
    encode_error,
    encode_farewell,
    encode_marker,
    encode_status,
    encode_update,
    marker_head,
    update_head,
)
from marketdata.errors import InvalidSymbol, MarketDataError
from marketdata.intervals import InvalidInterval
from marketdata.symbols import normalize_symbol

# An id goes with every update, and comes back in a header: with 20 symbols it has 300 to 1,800
# bytes.
MAX_SYMBOLS_IN_ID = 20
# Far more than 20 symbols of 64 characters with sequences of 20 digits; a longer id is not ours.
MAX_ID_LENGTH = 32 * 1024
KEEPALIVE = b":\n\n"

_DIGITS = re.compile(r"[0-9]{1,20}")
_HEAD = update_head()
_MARKER_HEAD = marker_head()


class Positions:
    """Where one client is: the last sequence it saw of each symbol, in one epoch.

    An SSE client sends it back as Last-Event-ID: ``1735201200000000000:AAPL=41,MSFT=7``.
    """

    def __init__(self, epoch: int = 0, sequences: dict[str, int] | None = None) -> None:
        self.epoch = epoch
        self.sequences = sequences or {}

    def advance(self, update: Update) -> str:
        """Count ``update`` as seen; return the id that says so."""
        if update.epoch != self.epoch:
            self.epoch = update.epoch
            self.sequences.clear()
        self.sequences[update.symbol] = update.sequence
        pairs = ",".join(f"{symbol}={last}" for symbol, last in self.sequences.items())
        return f"{self.epoch}:{pairs}"


def parse_event_id(event_id: str, symbols: Collection[str] | None) -> Positions | None:
    """Return the positions that ``event_id`` tells, of ``symbols`` (None: of all).

    None: the id is not ours. A client keeps it for as long as it likes, so this is no error.
    """
    if len(event_id) > MAX_ID_LENGTH:
        return None
    epoch, _, pairs = event_id.partition(":")
    if not _DIGITS.fullmatch(epoch):
        return None
    sequences: dict[str, int] = {}
    for pair in filter(None, pairs.split(",")):
        # A symbol may have an equals sign, a number has none.
        raw, _, sequence = pair.rpartition("=")
        if not _DIGITS.fullmatch(sequence):
            return None
        try:
            symbol = normalize_symbol(raw)
        except InvalidSymbol:
            return None
        if symbols is None or symbol in symbols:
            sequences[symbol] = int(sequence)
    return Positions(int(epoch), sequences)


def encode_event(name: str, data: bytes, event_id: str | None = None) -> bytes:
    """Return one event; ``data`` must be one line, as our JSON is."""
    # "id" is only for what a client may resume from: the others leave the last one standing.
    id_line = "" if event_id is None else f"id: {event_id}\n"
    return b"%bdata: %b\n\n" % (f"event: {name}\n{id_line}".encode(), data)


class EventSession(StreamClient):
    """One client of ``/api/v1/stream`` over SSE.

    Args:
        symbols: in normal form; None: all.
        policy: what happens while the client is slow.
        last_event_id: the last id it saw; empty: it begins.
        interval: the interval of bars; empty: it is for aggregates.
        since: where the history of bars begins; empty: without history. A client that comes back
            goes on where it was instead.
        retry_ms: how long it should wait before it connects again.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        symbols: Sequence[str] | None,
        policy: Policy,
        last_event_id: str,
        retry_ms: int,
        interval: str = "",
        since: str = "",
    ) -> None:
        super().__init__(sessions)
        self._retry_ms: int | None = retry_ms
        self._named = symbols is not None and len(symbols) <= MAX_SYMBOLS_IN_ID
        wanted = None if symbols is None else frozenset(symbols)
        positions = parse_event_id(last_event_id, wanted)
        self._positions = positions or Positions()
        resume = None
        if positions is not None:
            resume = Resume(positions.epoch, dict(positions.sequences))
        self._subscription = build_subscription(
            symbols,
            policy,
            resume,
            self._limits.buffer,
            interval=interval,
            # A browser that comes back asks for the same address: it goes on where it was.
            since=since if resume is None else "",
        )
        self._backfill = self._subscription.backfill
        # The symbols of which a client that comes back was told how it goes on; None: it begins.
        # At most all that live, and the updates of one symbol are as large as ten of these.
        self._continued: set[str] | None = set() if last_event_id else None

    def begin(self) -> None:
        """Tell the status, and subscribe."""
        self.tell_status(self)
        self.flush()
        try:
            self.subscribe(self._subscription, self)
        except (InvalidInterval, TooManySymbols) as exc:
            self.fail(exc)
        else:
            self.flush([self._subscription])

    def receive(self, message: str | bytes) -> None:
        """Do nothing: nothing can come."""

    # The format: an event's id depends on what the client has seen, so its bytes are its own.

    def encode(self, deliveries: Sequence[Delivery]) -> SharedMessages:
        """Return the events of a batch."""
        return SharedMessages([self.encode_waiting(delivery) for delivery in deliveries])

    def encode_waiting(self, delivery: Delivery) -> bytes:
        """Return the event of an update."""
        update, recovered = delivery.update, delivery.recovered
        if update.is_marker:
            return encode_event(INTERVAL_COMPLETE, encode_marker(_MARKER_HEAD, update))
        if self._continued is not None and update.symbol not in self._continued:
            self._continued.add(update.symbol)
            if recovered is None:
                # Its id did not say where it was with this symbol.
                recovered = False
        # The id of a long list says only that the client was here: it gets a snapshot.
        event_id: str | None
        if isinstance(update, BarUpdate) and update.is_history:
            # A client that leaves in the middle of history begins it again.
            event_id = None
        else:
            event_id = self._advance(update)
        data = encode_update(_HEAD, delivery, recovered=recovered)
        return encode_event("update", data, event_id)

    def _advance(self, update: Update) -> str:
        if not self._named:
            return str(update.epoch)
        backfill, self._backfill = self._backfill, None
        if backfill is not None:
            # The first state after history: the client has all of the other symbols as well.
            self._positions = Positions(update.epoch, backfill.reached(update.epoch))
        return self._positions.advance(update)

    def encode_status(self, status: FeedStatus) -> bytes:
        """Return the event of the status."""
        event = encode_event("status", encode_status(status))
        if self._retry_ms is None:
            return event
        # With the first event, because some clients take it for an event of its own.
        retry, self._retry_ms = f"retry: {self._retry_ms}\n", None
        return retry.encode() + event

    def encode_farewell(self, farewell: Farewell) -> bytes:
        """Return the last event; clients of the standard wait for its ``retry``."""
        event = encode_event("status", encode_farewell(farewell))
        return f"retry: {farewell.reconnect_after_ms}\n".encode() + event

    def encode_error(self, error: MarketDataError, subscription: Subscription | None) -> bytes:
        """Return the last event."""
        return encode_event("error", encode_error(error))
