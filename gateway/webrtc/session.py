"""The rules of a data channel: the rules of a stream, and more for a lossy channel."""

from __future__ import annotations

from gateway.live.session import Sessions
from gateway.stream.errors import SubscriptionInUse, UnknownSubscription
from gateway.stream.messages import Subscribe, Unsubscribe, encode_unsubscribed
from gateway.stream.session import StreamSession


class ChannelSession(StreamSession):
    """One data channel.

    Args:
        sessions: what live sessions share.
        lossy: Messages may be lost, both ways. Then a client repeats what was not answered, so a
            ``subscribe`` takes the place of the one before with its id, and an ``unsubscribe`` is
            answered also if there is nothing to end.
    """

    def __init__(self, sessions: Sessions, *, lossy: bool) -> None:
        super().__init__(sessions, {})
        self._lossy = lossy

    def do(self, message: Subscribe | Unsubscribe) -> None:
        """Carry out one message; see :meth:`StreamSession.do`."""
        try:
            super().do(message)
        except SubscriptionInUse as exc:
            if not self._lossy:
                raise
            super().do(Unsubscribe(type="unsubscribe", id=exc.subscription_id))
            super().do(message)
        except UnknownSubscription as exc:
            if not self._lossy:
                raise
            self.say(encode_unsubscribed(exc.subscription_id))
