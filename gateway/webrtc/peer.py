"""Be the other side of one client's RTCPeerConnection.

This module, and nothing before it, loads aiortc: 0.2 s and 34 MiB, most of it for video.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

import structlog
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp

from gateway.clients.connection import Peer
from gateway.live.session import Sessions
from gateway.webrtc.channel import ChannelConnection
from gateway.webrtc.errors import InvalidOffer
from gateway.webrtc.offers import MAX_CANDIDATES, Offer
from gateway.webrtc.options import PeerOptions
from gateway.webrtc.pacer import Pacer
from gateway.webrtc.session import ChannelSession

log = structlog.get_logger(__name__)

# The name of the data channel that we serve.
LABEL = "market-data"
# How long a client may take for what is queued when we close, before it is given up.
CLOSE_TIMEOUT_S = 5.0


class Signaling(Protocol):
    """The way back to the client; nothing of it waits."""

    def answer(self, sdp: str) -> None:
        """Send the ANSWER."""

    def candidate(self, line: str, mid: str) -> None:
        """Send one of our ICE candidates."""


class MarketDataPeer:
    """One peer connection with the one data channel ``market-data``.

    Args:
        offer: what the client offered.
        signaling: the way back to it.
        sessions: what live sessions share.
        address: of the client, as its signaling connection tells.
        pacer: shared by all channels.
        options: what an operator says.
    """

    def __init__(
        self,
        offer: Offer,
        signaling: Signaling,
        sessions: Sessions,
        *,
        address: str | None,
        pacer: Pacer,
        options: PeerOptions,
    ) -> None:
        self._offer = offer
        self._signaling = signaling
        self._sessions = sessions
        self._address = address
        self._pacer = pacer
        self._options = options
        self._candidates: list[str] = []
        self._known = len(offer.candidates)
        self._changed = asyncio.Event()
        self._connection: ChannelConnection | None = None
        self._closing = False
        self._over = False

    @property
    def connected(self) -> bool:
        """Whether the channel is open, or was."""
        return self._connection is not None

    def add_candidate(self, candidate: str) -> None:
        """Take one more candidate of the client; beyond the limit it is passed over."""
        if self._known < MAX_CANDIDATES:
            self._known += 1
            self._candidates.append(candidate)
            self._changed.set()

    async def run(self) -> None:
        """Answer the offer and serve the channel until it is over.

        Raises:
            InvalidOffer: the offer cannot be answered.
        """
        options = self._options
        # Given none, aiortc would ask a STUN server on the internet.
        pc = RTCPeerConnection(RTCConfiguration(iceServers=_ice_servers(options)))
        pc.on("datachannel", self._take_channel)
        pc.on("connectionstatechange", lambda: self._follow(pc))
        try:
            await self._answer(pc)
            if not await self._wait(pc, lambda: self.connected, options.setup_timeout_s):
                log.info("webrtc_peer_timed_out", address=self._address)
            elif not await self._wait(pc, lambda: self._closing, options.max_age_s):
                self._close("the peer connection has reached its age")
            # A farewell on its way is worth some time.
            await self._wait(pc, lambda: self._over, CLOSE_TIMEOUT_S if self.connected else 0)
        finally:
            self._closing = True
            if self._connection is not None:
                self._connection.close(1001, "the peer connection ends")
            await _close(pc)

    def _close(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.close(1001, reason)

    async def _answer(self, pc: RTCPeerConnection) -> None:
        try:
            offer = RTCSessionDescription(self._offer.to_sdp(), "offer")
            await pc.setRemoteDescription(offer)
        except Exception as exc:
            # The edge to a library that says of what it cannot use whatever comes up.
            log.info("webrtc_offer_refused", address=self._address, exc_info=True)
            raise InvalidOffer("the offer cannot be answered") from exc
        _gather_on(pc, self._options.hosts)
        await pc.setLocalDescription(await pc.createAnswer())
        self._signaling.answer(pc.localDescription.sdp)
        for candidate in _transport(pc).iceGatherer.getLocalCandidates():
            self._signaling.candidate(candidate_to_sdp(candidate), self._offer.mid)

    async def _wait(
        self, pc: RTCPeerConnection, done: Callable[[], bool], timeout_s: float
    ) -> bool:
        # Whether it was done in time.
        try:
            async with asyncio.timeout(timeout_s):
                while not done() and not self._over:
                    self._changed.clear()
                    candidates, self._candidates = self._candidates, []
                    for line in candidates:
                        await pc.addIceCandidate(self._parse(line))
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _parse(self, line: str) -> RTCIceCandidate:
        candidate: RTCIceCandidate = candidate_from_sdp(line)
        candidate.sdpMid = self._offer.mid
        return candidate

    def _take_channel(self, channel: RTCDataChannel) -> None:
        if self.connected or self._closing or channel.label != LABEL:
            # It would never get anything.
            channel.close()
            return
        lossy = channel.maxRetransmits is not None or channel.maxPacketLifeTime is not None
        self._connection = ChannelConnection(
            channel,
            ChannelSession(self._sessions, lossy=lossy),
            Peer("webrtc", self._address, subprotocol=channel.protocol or None),
            pacer=self._pacer,
            on_closed=self._end,
            max_message_bytes=self._options.max_message_bytes,
            max_sent_bytes=self._offer.max_message_bytes,
        )
        channel.on("close", self._finish)
        self._connection.open()
        self._changed.set()

    def _follow(self, pc: RTCPeerConnection) -> None:
        # Failed: the client was not heard of for 30 s, or showed another certificate.
        if pc.connectionState in ("failed", "closed"):
            self._finish()

    def _end(self) -> None:
        self._closing = True
        self._changed.set()

    def _finish(self) -> None:
        self._over = True
        self._changed.set()


def _ice_servers(options: PeerOptions) -> list[RTCIceServer]:
    return [
        RTCIceServer(
            urls=url,
            username=options.turn_username if url.startswith("turn") else None,
            credential=options.turn_password if url.startswith("turn") else None,
        )
        for url in options.ice_servers
    ]


def _transport(pc: RTCPeerConnection) -> Any:
    # The ICE transport of the only section, which is there since the offer was set.
    sctp: Any = pc.sctp
    return sctp.transport.transport


def _gather_on(pc: RTCPeerConnection, hosts: Sequence[str]) -> None:
    # aioice offers every address of the machine but loopback. We offer where we listen.
    connection = _transport(pc).iceGatherer._connection
    gather: Callable[..., Coroutine[Any, Any, Any]] = connection.get_component_candidates

    async def gather_on_hosts(component: int, addresses: list[str], timeout: int = 5) -> Any:  # noqa: ASYNC109
        return await gather(component, await candidate_hosts(hosts, addresses), timeout)

    connection.get_component_candidates = gather_on_hosts


async def candidate_hosts(hosts: Sequence[str], machine: Sequence[str]) -> list[str]:
    """Return the addresses to offer.

    Args:
        hosts: names and addresses; an unspecified one stands for those of ``machine``.
        machine: the addresses of this machine but loopback.
    """
    addresses: dict[str, None] = {}
    for host in hosts:
        try:
            address = ip_address(host)
        except ValueError:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
            addresses |= dict.fromkeys(str(each[4][0]) for each in found)
            continue
        if address.is_unspecified:
            usable = [each for each in machine if address.version == 6 or ":" not in each]
            # Without a network there is still this machine.
            addresses |= dict.fromkeys(usable or ["127.0.0.1"])
        else:
            addresses[host] = None
    return list(addresses)


async def _close(pc: RTCPeerConnection) -> None:
    # In a task of its own: cut short, it would leave sockets behind, and cannot be begun again.
    closing = asyncio.create_task(pc.close())
    _, late = await asyncio.wait([closing], timeout=CLOSE_TIMEOUT_S)
    if late:
        log.warning("webrtc_peer_not_closed", timeout_s=CLOSE_TIMEOUT_S)
