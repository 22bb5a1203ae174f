"""The common part of all streams: the status once per client, and the end with an error."""

from __future__ import annotations

from abc import abstractmethod

from gateway.clients.farewell import SERVICE_RESTART, Farewell
from gateway.clients.outbox import BufferFull
from gateway.hub.subscription import Subscription
from gateway.hub.updates import FeedStatus
from gateway.live.session import LiveSession, Sessions, SubscriptionOverflow
from gateway.stream.errors import ENDINGS, SlowConsumer, TooManyMessages
from marketdata.errors import MarketDataError


class StreamClient(LiveSession):
    """One client of a stream."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__(sessions)
        # The status that the client knows.
        self.told: FeedStatus | None = None

    def say_farewell(self, farewell: Farewell) -> None:
        """Tell the client when to come back, and end the stream."""
        message = self.encode_farewell(farewell)
        if message is not None:
            self.say(message)
        self.connection.close(SERVICE_RESTART, farewell.reason)

    def on_message(self, message: str | bytes) -> None:
        """Take a message, unless the client sends too many."""
        if self._messages.take(self._now()):
            self.receive(message)
        else:
            self.exceed_rate()

    def exceed_rate(self) -> None:
        """End the stream of a client that sends too often."""
        self.fail(TooManyMessages(self._limits.message_rate))

    def fail(self, error: MarketDataError, subscription: Subscription | None = None) -> None:
        """Say why, and end the stream."""
        if isinstance(error, BufferFull):
            # An error message does not fit either.
            self._close(SlowConsumer())
            return
        if isinstance(error, SubscriptionOverflow):
            error = SlowConsumer()
        self.say(self.encode_error(error, subscription))
        self._close(error)

    def _close(self, error: MarketDataError) -> None:
        self.connection.close(int(ENDINGS[type(error)].close_code), str(error))

    # The difference between streams

    @abstractmethod
    def receive(self, message: str | bytes) -> None:
        """Take a message."""

    @abstractmethod
    def encode_status(self, status: FeedStatus) -> bytes | None:
        """Return the message of the feed's status; None: there is none."""

    @abstractmethod
    def encode_farewell(self, farewell: Farewell) -> bytes | None:
        """Return the last message before the gateway stops; None: the close frame is enough."""

    @abstractmethod
    def encode_error(self, error: MarketDataError, subscription: Subscription | None) -> bytes:
        """Return the last message."""
