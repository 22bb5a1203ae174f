"""Speak to a session as a client does."""

from __future__ import annotations

from gateway.stomp.protocol.events import Event, Subscribed, Subscription
from gateway.stomp.protocol.frames import Frame, FrameDecoder, FrameLimits
from gateway.stomp.protocol.messages import Message
from gateway.stomp.protocol.session import SessionLimits, StompSession

AAPL = "/topic/market-data/AAPL"
MSFT = "/topic/market-data/MSFT"


def frame(command: str, *headers: str, body: str = "") -> str:
    return "\n".join([command, *headers, "", body]) + "\0"


class Client:
    """A client of one session; its clock stands still unless a test moves it."""

    def __init__(
        self, limits: SessionLimits | None = None, frame_limits: FrameLimits | None = None
    ) -> None:
        self.now = 0.0
        self.session = StompSession("s1", 0.0, limits=limits, frame_limits=frame_limits)

    @classmethod
    def connected(
        cls, *headers: str, version: str = "1.2", limits: SessionLimits | None = None
    ) -> Client:
        client = cls(limits)
        client.send("CONNECT", f"accept-version:{version}", *headers)
        (answer,) = client.receive()
        assert answer.command == "CONNECTED"
        return client

    def send_raw(self, data: bytes | str) -> list[Event]:
        return self.session.receive_data(data, self.now)

    def send(self, command: str, *headers: str, body: str = "") -> list[Event]:
        return self.send_raw(frame(command, *headers, body=body))

    def subscribe(self, destination: str, *headers: str) -> Subscription:
        (event,) = self.send("SUBSCRIBE", f"destination:{destination}", *headers)
        assert isinstance(event, Subscribed)
        return event.subscription

    def publish(self, subscription: Subscription, body: bytes = b"{}") -> None:
        self.session.send_message(subscription, Message(AAPL, body), self.now)

    def receive_raw(self) -> list[str | bytes]:
        return self.session.data_to_send()

    def receive(self) -> list[Frame]:
        """Return the frames the session wrote, read as its version reads them."""
        decoder = FrameDecoder()
        decoder.version = self.session.version
        for data in self.receive_raw():
            decoder.feed(data.encode() if isinstance(data, str) else data)
        frames = []
        while (received := decoder.next_frame()) is not None:
            frames.append(received)
        return frames

    def receive_error(self) -> Frame:
        """Return the ERROR that ended the session: the only and last frame."""
        (error,) = self.receive()
        assert error.command == "ERROR"
        assert error.headers["message"]
        assert self.session.close is not None
        return error

    def wait(self, seconds: float) -> None:
        """Let time pass as an edge does: with one timer, armed at next_timer()."""
        end = self.now + seconds
        while (deadline := self.session.next_timer()) is not None and deadline <= end:
            assert deadline >= self.now
            self.now = deadline
            self.session.check_timers(self.now)
        self.now = end
