"""The producer for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from math import isinf
from types import TracebackType
from typing import Any, Self, Unpack

from marketdata.producer.columns import Additions
from marketdata.producer.encoding import (
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

# Sends that need not wait let other tasks run after so many: about 2 ms.
_SENDS_PER_TURN = 1_000
# Rows that are encoded between two turns of the event loop, also about 2 ms.
_ROWS_PER_TURN = 2_000


class Producer:
    """Send ticks to ingest, so that each one counts exactly once.

    ::

        async with Producer("localhost:50050", producer_id="feed-1") as producer:
            await producer.send("AAPL", 150.25, 100, time.time_ns())

    The end of the context waits until everything is acked. A lost connection is made again, and
    what was not acked is sent again; the server recognises what it already has.

    Args:
        address: host and port of ingest, such as ``localhost:50050``.
        producer_id: names this producer for ever: 1 to 64 characters of printable ASCII without
            spaces. The server counts the sequence under it; two programs must not use the same at
            once.
        options: see :class:`~marketdata.producer.options.Options`.

    Raises:
        ValueError: an argument is not valid.
    """

    def __init__(self, address: str, producer_id: str, **options: Unpack[Options]) -> None:
        self._options = check_options(address, producer_id, options)
        self._encoder = RowEncoder(self._options.unit)
        self._session = make_session(self._options, _report)
        self._link = make_link(self._options, self._session, self._note_change)
        self._running: asyncio.Task[None] | None = None
        self._is_open = False
        # Set with the next change, if anybody waits for one.
        self._change: asyncio.Event | None = None
        # Sends until the next check; 0 after a failure, so that the next send checks at once.
        self._quick_sends = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except ProducerError as exc:
            if error is None:
                raise
            # The error of the body says more.
            error.add_note(f"the producer closed with: {exc}")

    @property
    def sent(self) -> int:
        """How many ticks were sent: ``sent = acked + rejected + unacked``."""
        return self._session.sent

    @property
    def acked(self) -> int:
        """How many ticks the server has taken, as durably as it is configured."""
        return self._session.acked

    @property
    def rejected(self) -> int:
        """How many ticks the server refused."""
        return self._session.rejected

    @property
    def unacked(self) -> int:
        """How many ticks wait for the server's answer."""
        return self._session.unacked

    @property
    def duplicates(self) -> int:
        """How many of the acked ticks the server had already, because their ack was lost."""
        return self._session.duplicates

    @property
    def last_sequence(self) -> int | None:
        """The sequence of the newest tick that was sent; None before the first session."""
        return self._session.last_sequence

    @property
    def connected(self) -> bool:
        """Whether there is a session with the server now."""
        return self._session.welcomed

    async def open(self) -> None:
        """Begin the first session.

        Raises:
            CannotConnect: it did not begin within ``connect_timeout_s``.
            ProducerError: the server refused it.
        """
        if self._running is not None:
            raise ProducerClosed
        self._running = asyncio.create_task(self._link.run())
        self._is_open = True
        timeout_s = self._options.connect_timeout_s
        try:
            async with asyncio.timeout(_finite(timeout_s)):
                await self._wait_until(lambda: self._session.welcomed)
        except TimeoutError as exc:
            await self._stop()
            name = self._options.address_name
            raise CannotConnect(name, timeout_s, self._link.problem) from exc
        except BaseException:
            await self._stop()
            raise

    async def send(
        self,
        symbol: str,
        price: Price,
        volume: Volume,
        timestamp: Timestamp,
        *,
        trade_id: TradeId = b"",
        excludes: int = 0,
    ) -> None:
        """Send one tick; wait while too many are unacked. If cancelled, it was not sent.

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
        await self._send_record(
            self._encoder.encode(
                symbol, price, volume, timestamp, trade_id=trade_id, excludes=excludes
            )
        )

    async def cancel(self, symbol: str, trade_id: TradeId, timestamp: Timestamp) -> None:
        """Send that a trade did not happen.

        Args:
            symbol: of the trade.
            trade_id: under which it was sent.
            timestamp: its exchange time.

        Raises:
            InvalidTick: an argument cannot be sent.
            ProducerError: the session has ended for ever.
        """
        await self._send_record(self._encoder.encode_cancel(symbol, trade_id, timestamp))

    async def correct(
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
        await self._send_record(
            self._encoder.encode_correct(
                symbol, price, volume, timestamp, trade_id=trade_id, excludes=excludes
            )
        )

    async def send_many(self, rows: Iterable[TickRow]) -> None:
        """Send rows of (symbol, price, volume, timestamp), each as :meth:`send` takes them.

        A row may go on with the trade id, and then the excludes.

        If cancelled, the first ``sent`` of all rows were sent.

        Raises:
            InvalidTick: a row cannot be sent; those before it were sent.
            ProducerError: the session has ended for ever.
        """
        ticks = min(_ROWS_PER_TURN, self._options.piece_ticks)
        await self._send_pieces(encode_rows(rows, self._options.unit, ticks))

    async def send_columns(
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
        await self._send_pieces(
            encode_any_columns(
                symbols, prices, volumes, timestamps, self._options, additions=additions
            )
        )

    async def send_encoded(self, ticks: EncodedTicks) -> None:
        """Send what :func:`encode_rows` or :func:`encode_columns` made.

        Raises:
            ValueError: it has more ticks or bytes than may wait for acks.
            ProducerError: the session has ended for ever.
        """
        check_piece(ticks, self._options)
        await self._send_pieces(iter((ticks,)))

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything that was sent before the call is acked or rejected.

        Args:
            timeout_s: how many seconds to wait; None: for ever.

        Raises:
            UnackedTicks: the time is over.
            ProducerError: the session has ended for ever.
        """
        limit_s = None if timeout_s is None else check_seconds("timeout_s", timeout_s)
        until = self._session.sent
        try:
            async with asyncio.timeout(_finite(limit_s)):
                await self._wait_until(lambda: self._session.answered >= until)
        except TimeoutError as exc:
            unacked = self._session.unacked
            raise unacked_error(unacked, limit_s or 0.0, self._session, self._link) from exc

    async def close(self, timeout_s: float | None = None) -> None:
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
            await self.flush(self._options.close_timeout_s if timeout_s is None else timeout_s)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        self._is_open = False
        self._quick_sends = 0
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        self._note_change()

    async def _send_record(self, record: bytes) -> None:
        if not self._quick_sends or not self._session.has_room(1, len(record)):
            await self._wait_for_room(1, len(record))
        self._quick_sends -= 1
        self._session.add(record)
        self._link.send()

    async def _send_pieces(self, pieces: Iterator[EncodedTicks]) -> None:
        for data, ticks in pieces:
            await self._wait_for_room(ticks, len(data))
            self._session.add(data, ticks)
            self._link.send()

    async def _wait_for_room(self, ticks: int, size: int) -> None:
        self._check()
        # Lets the socket be read and written; nothing was added yet, should this be cancelled.
        await asyncio.sleep(0)
        await self._wait_until(lambda: self._session.has_room(ticks, size))
        self._check()
        self._quick_sends = _SENDS_PER_TURN

    async def _wait_until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._check()
            if self._change is None:
                self._change = asyncio.Event()
            await self._change.wait()

    def _check(self) -> None:
        if self._link.failure is not None:
            raise self._link.failure
        if not self._is_open:
            raise ProducerClosed

    def _note_change(self) -> None:
        if self._link.failure is not None:
            self._quick_sends = 0
        if self._change is not None:
            self._change.set()
            self._change = None


def _report(message: str, error: Exception) -> None:
    """Give an error of the user's function to the handler of the event loop, which logs it."""
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


def _finite(seconds: float | None) -> float | None:
    return None if seconds is None or isinf(seconds) else seconds
