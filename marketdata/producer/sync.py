"""The producer for programs without asyncio: the session runs in a thread of its own."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from math import inf
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Any, Self, Unpack

from marketdata.producer.columns import Additions
from marketdata.producer.encoding import (
    MAX_BATCH_TICKS,
    EncodedTicks,
    Price,
    RowEncoder,
    TickRow,
    encode_rows,
)
from marketdata.producer.errors import CannotConnect, ProducerClosed, ProducerError
from marketdata.producer.options import Options, check_options, check_seconds
from marketdata.producer.parts import (
    check_piece,
    encode_any_columns,
    make_link,
    make_session,
    unacked_error,
)
from marketdata.producer.values import Timestamp, TradeId, Volume

# Rows that are handed to the thread together.
_ROWS_PER_TURN = 2_000
# threading waits no longer than this at once.
_LONGEST_WAIT_S = 3600.0


class SyncProducer:
    """Send ticks to ingest, so that each one counts exactly once, without asyncio.

    ::

        with SyncProducer("localhost:50050", producer_id="feed-1") as producer:
            producer.send("AAPL", 150.25, 100, time.time_ns())

    It is :class:`~marketdata.producer.Producer` with plain calls. Several threads may send; each
    thread's ticks stay in order. The thread of the session is a daemon: a program that ends without
    closing loses what is not acked.

    Args:
        address: host and port of ingest, such as ``localhost:50050``.
        producer_id: names this producer for ever: 1 to 64 characters of printable ASCII without
            spaces. The server counts the sequence under it; two programs must not use the same at
            once.
        options: see :class:`~marketdata.producer.options.Options`. ``on_reject`` and
            ``on_server_lost`` are called in the thread of the session.

    Raises:
        ValueError: an argument is not valid.
    """

    def __init__(self, address: str, producer_id: str, **options: Unpack[Options]) -> None:
        self._options = check_options(address, producer_id, options)
        self._encoder = RowEncoder(self._options.unit)
        self._session = make_session(self._options, _report)
        # Holds all that both threads use: the outbox, and whether ticks move to the session.
        self._changed = Condition()
        self._link = make_link(self._options, self._session, self._note_change)
        # What the caller has sent and the thread of the session has not yet taken.
        self._outbox: list[EncodedTicks] = []
        self._outbox_ticks = 0
        self._outbox_bytes = 0
        self._is_woken = False
        self._is_open = False
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            self.close()
        except ProducerError as exc:
            if error is None:
                raise
            # The error of the body says more.
            error.add_note(f"the producer closed with: {exc}")

    @property
    def sent(self) -> int:
        """How many ticks were sent: ``sent = acked + rejected + unacked``."""
        with self._changed:
            return self._session.sent + self._outbox_ticks

    @property
    def acked(self) -> int:
        """How many ticks the server has taken, as durably as it is configured."""
        with self._changed:
            return self._session.acked

    @property
    def rejected(self) -> int:
        """How many ticks the server refused."""
        with self._changed:
            return self._session.rejected

    @property
    def unacked(self) -> int:
        """How many ticks wait for the server's answer."""
        with self._changed:
            return self._session.unacked + self._outbox_ticks

    @property
    def duplicates(self) -> int:
        """How many of the acked ticks the server had already, because their ack was lost."""
        return self._session.duplicates

    @property
    def connected(self) -> bool:
        """Whether there is a session with the server now."""
        return self._session.welcomed

    @property
    def last_sequence(self) -> int | None:
        """The sequence of the newest tick that was sent; None before the first session."""
        with self._changed:
            last = self._session.last_sequence
            return None if last is None else last + self._outbox_ticks

    def open(self) -> None:
        """Begin the first session.

        Raises:
            CannotConnect: it did not begin within ``connect_timeout_s``.
            ProducerError: the server refused it.
        """
        if self._thread is not None:
            raise ProducerClosed
        started = Event()
        self._thread = Thread(
            target=self._serve,
            args=(started,),
            name=f"producer {self._options.producer_id}",
            daemon=True,
        )
        self._thread.start()
        started.wait()
        timeout_s = self._options.connect_timeout_s
        if self._loop is None:
            name = self._options.address_name
            raise CannotConnect(name, timeout_s, "the thread of the session did not start")
        self._is_open = True
        try:
            with self._changed:
                welcomed = self._wait_until(lambda: self._session.welcomed, timeout_s)
        except BaseException:
            self._end()
            raise
        if not welcomed:
            self._end()
            raise CannotConnect(self._options.address_name, timeout_s, self._link.problem)

    def send(
        self,
        symbol: str,
        price: Price,
        volume: Volume,
        timestamp: Timestamp,
        *,
        trade_id: TradeId = b"",
        excludes: int = 0,
    ) -> None:
        """Send one tick; wait while too many are unacked.

        Args:
            symbol: 1 to 64 characters of printable ASCII.
            price: in the symbol's currency.
            volume: in units of the instrument: a whole number, or a ``Decimal`` with at most 18
                decimals, or ``(volume, decimals)`` for volume x 10^-decimals.
            timestamp: the exchange time: nanoseconds since the Unix epoch (or seconds, milliseconds
                or microseconds, see ``timestamp_unit``), or a datetime with a time zone.
            trade_id: identifies the trade among those of its symbol, at most 64 bytes. A trade that
                comes again with the same id counts once. A number is sent as its digits.
            excludes: bits of ``Exclude``: the numbers that the trade does not move.

        Raises:
            InvalidTick: an argument cannot be sent.
            ProducerError: the session has ended for ever.
        """
        with self._changed:
            # One encoder for all threads, so within the lock.
            record = self._encoder.encode(
                symbol, price, volume, timestamp, trade_id=trade_id, excludes=excludes
            )
            self._give(EncodedTicks(record, 1))

    def cancel(self, symbol: str, trade_id: TradeId, timestamp: Timestamp) -> None:
        """Send that a trade did not happen.

        Args:
            symbol: of the trade.
            trade_id: under which it was sent.
            timestamp: its exchange time.

        Raises:
            InvalidTick: an argument cannot be sent.
            ProducerError: the session has ended for ever.
        """
        with self._changed:
            record = self._encoder.encode_cancel(symbol, trade_id, timestamp)
            self._give(EncodedTicks(record, 1))

    def correct(
        self,
        symbol: str,
        price: Price,
        volume: Volume,
        timestamp: Timestamp,
        *,
        trade_id: TradeId,
        excludes: int = 0,
    ) -> None:
        """Send the values that the trade with this id should have had; see :meth:`send`.

        Raises:
            InvalidTick: an argument cannot be sent.
            ProducerError: the session has ended for ever.
        """
        with self._changed:
            record = self._encoder.encode_correct(
                symbol, price, volume, timestamp, trade_id=trade_id, excludes=excludes
            )
            self._give(EncodedTicks(record, 1))

    def send_many(self, rows: Iterable[TickRow]) -> None:
        """Send rows of (symbol, price, volume, timestamp), each as :meth:`send` takes them.

        A row may go on with the trade id, and then the excludes.

        Raises:
            InvalidTick: a row cannot be sent; those before it were sent.
            ProducerError: the session has ended for ever.
        """
        ticks = min(_ROWS_PER_TURN, self._options.piece_ticks)
        self._send_pieces(encode_rows(rows, self._options.unit, ticks))

    def send_columns(
        self,
        symbols: Any,
        prices: Any = None,
        volumes: Any = None,
        timestamps: Any = None,
        *,
        volume_decimals: Any = None,
        trade_ids: Any = None,
        excludes: Any = None,
    ) -> None:
        """Send columns of equal length: arrays of numpy, Arrow, polars or pandas, or lists.

        All columns are checked before the first tick is sent.

        Args:
            symbols: strings, or one string for all ticks. Or, alone, a table with the columns
                ``symbol``, ``price``, ``volume`` and ``timestamp``, and as far as it has them
                ``volume_decimals``, ``trade_id`` and ``excludes``.
            prices: numbers, in the symbol's currency.
            volumes: whole numbers, in units of the instrument, or decimals.
            timestamps: whole numbers as :meth:`send` takes them, or times.
            volume_decimals: of whole volumes, which count 10^-decimals: numbers, or one for all.
            trade_ids: of the trades, each as :meth:`send` takes it; an empty one is none.
            excludes: bits of ``Exclude``: numbers, or one for all.

        Raises:
            InvalidTick: a column cannot be sent.
            ProducerError: the session has ended for ever.
        """
        additions = Additions(volume_decimals, trade_ids, excludes)
        self._send_pieces(
            encode_any_columns(
                symbols, prices, volumes, timestamps, self._options, additions=additions
            )
        )

    def send_encoded(self, ticks: EncodedTicks) -> None:
        """Send what :func:`encode_rows` or :func:`encode_columns` made.

        Raises:
            ValueError: it has more ticks or bytes than may wait for acks.
            ProducerError: the session has ended for ever.
        """
        check_piece(ticks, self._options)
        self._send_pieces(iter((ticks,)))

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything that was sent before the call is acked or rejected.

        Args:
            timeout_s: how many seconds to wait; None: for ever.

        Raises:
            UnackedTicks: the time is over.
            ProducerError: the session has ended for ever.
        """
        limit_s = inf if timeout_s is None else check_seconds("timeout_s", timeout_s)
        with self._changed:
            until = self._session.sent + self._outbox_ticks
            if self._wait_until(lambda: self._session.answered >= until, limit_s):
                return
            unacked = self._session.unacked + self._outbox_ticks
        raise unacked_error(unacked, limit_s, self._session, self._link)

    def close(self, timeout_s: float | None = None) -> None:
        """Wait until everything is acked, then disconnect. Closing twice does nothing.

        Args:
            timeout_s: how many seconds to wait; None: ``close_timeout_s``.

        Raises:
            UnackedTicks: the time is over. The producer is closed nevertheless.
            ProducerError: the session had ended for ever with ticks that were not acked.
        """
        if not self._is_open:
            return
        try:
            self.flush(self._options.close_timeout_s if timeout_s is None else timeout_s)
        finally:
            self._end()

    def _send_pieces(self, pieces: Iterator[EncodedTicks]) -> None:
        for piece in pieces:
            with self._changed:
                self._give(piece)

    # Called with the lock.
    def _give(self, piece: EncodedTicks) -> None:
        self._check()
        size = len(piece.data)
        if not self._has_room(piece.ticks, size):
            self._wait_until(lambda: self._has_room(piece.ticks, size), inf)
            self._check()
        self._outbox.append(piece)
        self._outbox_ticks += piece.ticks
        self._outbox_bytes += size
        # A session that is not idle takes the outbox with the next answer.
        if self._is_woken or self._loop is None:
            return
        if self._session.is_idle or self._outbox_ticks >= MAX_BATCH_TICKS:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._take_outbox)

    def _has_room(self, ticks: int, size: int) -> bool:
        return self._session.has_room(self._outbox_ticks + ticks, self._outbox_bytes + size)

    def _wait_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not done():
            self._check()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._changed.wait(min(left_s, _LONGEST_WAIT_S))
        return True

    def _check(self) -> None:
        if self._link.failure is not None:
            raise self._link.failure
        if not self._is_open:
            raise ProducerClosed

    def _end(self) -> None:
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join()

    # From here on: called in the thread of the session.
    def _serve(self, started: Event) -> None:
        try:
            asyncio.run(self._run(started))
        finally:
            # Also if there was no event loop, because the program has too many open files.
            started.set()

    async def _run(self, started: Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        started.set()
        running = asyncio.create_task(self._link.run())
        # Also after a failure the loop runs until the owner closes: calls may be on their way.
        await self._stop.wait()
        running.cancel()
        await asyncio.wait([running])

    def _take_outbox(self) -> None:
        with self._changed:
            # Before the lock is released: a thread that adds a tick after it must know what to do.
            self._is_woken = False
            for data, ticks in self._outbox:
                self._session.add(data, ticks)
            self._outbox.clear()
            self._outbox_ticks = self._outbox_bytes = 0
        self._link.send()

    def _note_change(self) -> None:
        self._take_outbox()
        with self._changed:
            self._changed.notify_all()


def _report(message: str, error: Exception) -> None:
    # As Python does with an error in a thread; there is no caller that could take it.
    print(f"producer: {message}: {error!r}", file=sys.stderr)  # noqa: T201
