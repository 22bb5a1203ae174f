"""Answer the offers that signaling clients make to the gateway."""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from gateway.clients.capacity import Capacity
from gateway.limiter import RateLimiter
from gateway.live.session import Sessions
from gateway.stomp.protocol.destinations import SIGNALING
from gateway.stomp.protocol.messages import Message
from gateway.stomp.protocol.signaling import GATEWAY_ID, Signal, SignalType
from gateway.webrtc.errors import (
    InvalidOffer,
    OfferRefused,
    TooManyOffers,
    TooManyPeers,
)
from gateway.webrtc.offers import MAX_CANDIDATES, Offer, parse_candidate, parse_offer
from gateway.webrtc.options import PeerLimits, PeerOptions
from gateway.webrtc.pacer import Pacer
from gateway.webrtc.signals import encode_answer, encode_candidate, encode_refusal

log = structlog.get_logger(__name__)

# A page that is reloaded a few times in a hurry.
OFFER_BURST = 5


class SignalingClient(Protocol):
    """A session that signaling messages come from."""

    @property
    def address(self) -> str | None:
        """Where it is."""

    def send_signal(self, message: Message) -> None:
        """Send it a signaling message, if it subscribed to them."""


class ServedPeer(Protocol):
    """A :class:`gateway.webrtc.peer.MarketDataPeer`, which takes aiortc to import."""

    @property
    def connected(self) -> bool:
        """Whether the channel is open, or was."""

    def add_candidate(self, candidate: str) -> None:
        """Take one more candidate of the client."""

    async def run(self) -> None:
        """Answer the offer and serve the channel until it is over."""


@dataclass(slots=True)
class _Client:
    offers: RateLimiter
    # By the id that it gives itself.
    peers: dict[str, _Running] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Running:
    # None while aiortc is being loaded.
    peer: ServedPeer | None = None
    candidates: list[str] = field(default_factory=list)
    # None when it was cancelled.
    task: asyncio.Task[None] | None = None


class WebRtcEndpoint:
    """All peers of the gateway.

    Args:
        sessions: what live sessions share.
        capacity: counts the live clients of all endpoints.
        tasks: runs a task per peer.
        limits: how much clients may ask for.
        options: how peers connect.
    """

    def __init__(
        self,
        sessions: Sessions,
        capacity: Capacity,
        tasks: asyncio.TaskGroup,
        limits: PeerLimits,
        options: PeerOptions,
    ) -> None:
        self._sessions = sessions
        self._capacity = capacity
        self._tasks = tasks
        self._limits = limits
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._pacer = Pacer(limits.message_rate)
        self._clients: dict[SignalingClient, _Client] = {}
        self._running: set[_Running] = set()
        self._stopped = False
        # Offers that were not answered, by the reason.
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._running)

    # The endpoint

    def stop(self) -> None:
        """Answer no more offers, and end peers that are not connected yet.

        Channels end as all sessions do.
        """
        self._stopped = True
        for running in list(self._running):
            if running.peer is None or not running.peer.connected:
                self._cancel(running)

    def abort(self) -> None:
        """End the peers that are left at once."""
        for running in list(self._running):
            self._cancel(running)

    # The signaling

    def on_signal(self, signal: Signal, sender: SignalingClient) -> None:
        """Take a signaling message that may be to the gateway."""
        if signal.target_id != GATEWAY_ID or self._stopped:
            return
        client = self._clients.get(sender)
        try:
            if signal.type is SignalType.OFFER:
                if client is None:
                    now = self._loop.time()
                    client = _Client(RateLimiter(self._limits.offer_rate, OFFER_BURST, now))
                    self._clients[sender] = client
                self._take_offer(signal, sender, client)
            elif signal.type is SignalType.ICE and client is not None:
                self._take_candidate(signal, client)
        except OfferRefused as exc:
            self._refuse(signal.sender_id, sender, exc)

    def on_left(self, sender: SignalingClient) -> None:
        """Forget a client; its peers live on, or are given up when they never connect."""
        self._clients.pop(sender, None)

    def _take_offer(self, signal: Signal, sender: SignalingClient, client: _Client) -> None:
        if not client.offers.take(self._loop.time()):
            raise TooManyOffers(self._limits.offer_rate)
        offer = parse_offer(signal.sdp or "", self._limits.max_sdp_bytes)
        # A new offer is a new beginning: a page that was reloaded, or lost its connection.
        before = client.peers.pop(signal.sender_id, None)
        count = len(self._running)
        if before is not None:
            self._cancel(before)
            count -= 1
        if count >= self._limits.max_peers or not self._capacity.try_enter():
            raise TooManyPeers
        running = _Running()
        client.peers[signal.sender_id] = running
        self._running.add(running)
        serving = self._serve(running, offer, signal.sender_id, sender)
        task = self._tasks.create_task(serving)
        # Here, because a task that is cancelled before its first step never runs.
        task.add_done_callback(lambda _: self._forget(running, client, signal.sender_id))
        running.task = task

    def _take_candidate(self, signal: Signal, client: _Client) -> None:
        running = client.peers.get(signal.sender_id)
        candidate = parse_candidate(signal.candidate)
        if running is None or candidate is None:
            return
        if running.peer is not None:
            running.peer.add_candidate(candidate)
        elif len(running.candidates) < MAX_CANDIDATES:
            running.candidates.append(candidate)

    async def _serve(
        self, running: _Running, offer: Offer, sender_id: str, sender: SignalingClient
    ) -> None:
        try:
            # The first time this loads aiortc.
            module = await asyncio.to_thread(importlib.import_module, "gateway.webrtc.peer")
            peer: ServedPeer = module.MarketDataPeer(
                offer,
                _Replies(sender, sender_id),
                self._sessions,
                address=sender.address,
                pacer=self._pacer,
                options=self._options,
            )
            running.peer = peer
            for candidate in running.candidates:
                peer.add_candidate(candidate)
            running.candidates.clear()
            await peer.run()
        except InvalidOffer as exc:
            self._refuse(sender_id, sender, exc)
        except Exception:
            # The edge of the task: a bug ends this one peer.
            log.exception("webrtc_peer_failed", address=sender.address)

    def _refuse(self, sender_id: str, sender: SignalingClient, refusal: OfferRefused) -> None:
        self.refused[refusal.code] += 1
        sender.send_signal(Message(SIGNALING, encode_refusal(sender_id, refusal)))

    def _cancel(self, running: _Running) -> None:
        # Once: a second time would cut the closing short.
        task, running.task = running.task, None
        if task is not None:
            task.cancel()

    def _forget(self, running: _Running, client: _Client, sender_id: str) -> None:
        self._running.discard(running)
        self._capacity.leave()
        if client.peers.get(sender_id) is running:
            del client.peers[sender_id]


class _Replies:
    # The way back to one client.
    def __init__(self, sender: SignalingClient, sender_id: str) -> None:
        self._send = sender.send_signal
        self._sender_id = sender_id

    def answer(self, sdp: str) -> None:
        self._send(Message(SIGNALING, encode_answer(self._sender_id, sdp)))

    def candidate(self, line: str, mid: str) -> None:
        self._send(Message(SIGNALING, encode_candidate(self._sender_id, line, mid)))
