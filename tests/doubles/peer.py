"""A WebRTC client of the gateway, on aiortc, that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from tests.doubles.stomp import StompClient, open_stomp

TIMEOUT_S = 60


class PeerClient:
    """One peer connection, offered over one signaling session."""

    def __init__(self, stomp: StompClient, name: str, **channel: Any) -> None:
        self.stomp = stomp
        self.name = name
        # None: aiortc would ask a STUN server on the internet.
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.channel = self.pc.createDataChannel("market-data", **channel)
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.answer: Any = None
        self.candidates: list[Any] = []
        self.channel.on("open", self.opened.set)
        self.channel.on("close", self.closed.set)
        self.channel.on("message", lambda text: self.messages.put_nowait(orjson.loads(text)))

    async def signal(self, **message: object) -> None:
        """Send a signaling message to the gateway."""
        message = {"senderId": self.name, "targetId": "gateway"} | message
        await self.stomp.send("SEND", orjson.dumps(message).decode(), destination="/app/signal")

    async def offer(self, edit: Callable[[str], str] = str) -> None:
        """Offer, with an SDP that ``edit`` may change."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        await self.signal(type="OFFER", sdp=edit(self.pc.localDescription.sdp))

    async def reply(self) -> Any:
        """Return the next message of the gateway to us."""
        while True:
            message = (await self.stomp.next()).json
            if (message["senderId"], message["targetId"]) == ("gateway", self.name):
                return message

    async def wait_answered(self) -> None:
        """Wait for the ANSWER."""
        # Candidates of a peer before may still come.
        while (answer := await self.reply())["type"] == "ICE":
            pass
        self.answer = answer

    async def take_answer(self) -> None:
        """Wait for the ANSWER, and take it."""
        await self.wait_answered()
        assert self.answer["type"] == "ANSWER", self.answer
        await self.pc.setRemoteDescription(RTCSessionDescription(self.answer["sdp"], "answer"))

    async def connect(self) -> None:
        """Offer, and return when the channel is open."""
        await self.offer()
        await self.take_answer()
        async with asyncio.timeout(TIMEOUT_S):
            await self.opened.wait()

    async def trickle(self) -> None:
        """Connect with candidates that come one by one, in both directions."""
        lines: list[str] = []

        def without_candidates(sdp: str) -> str:
            kept = []
            for line in sdp.splitlines():
                if line.startswith("a=candidate:"):
                    lines.append(line.removeprefix("a="))
                elif line != "a=end-of-candidates":
                    kept.append(line)
            return "\r\n".join(kept) + "\r\n"

        await self.offer(without_candidates)
        assert lines
        for line in lines:
            candidate = {"candidate": line, "sdpMid": "0", "sdpMLineIndex": 0}
            await self.signal(type="ICE", candidate=candidate)
        await self.signal(type="ICE", candidate=None)
        self.answer = await self.reply()
        bare = [each for each in self.answer["sdp"].splitlines() if "candidate" not in each]
        await self.pc.setRemoteDescription(
            RTCSessionDescription("\r\n".join(bare) + "\r\n", "answer")
        )
        while not self.opened.is_set():
            told = asyncio.create_task(self.reply())
            done, _ = await asyncio.wait(
                [told, asyncio.create_task(self.opened.wait())],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if told not in done:
                told.cancel()
                break
            message = told.result()
            assert message["type"] == "ICE"
            self.candidates.append(message["candidate"])
            theirs = candidate_from_sdp(
                message["candidate"]["candidate"].removeprefix("candidate:")
            )
            theirs.sdpMid = message["candidate"]["sdpMid"]
            await self.pc.addIceCandidate(theirs)

    def send(self, **message: object) -> None:
        """Send over the channel."""
        self.channel.send(orjson.dumps(message).decode())

    def vanish(self) -> None:
        """Be gone without a word, as a computer whose lid was closed."""
        sctp: Any = self.pc.sctp
        for protocol in sctp.transport.transport.iceGatherer._connection._protocols:
            protocol.transport.close()

    async def next(self) -> Any:
        """Return the next message of the channel."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.messages.get()

    async def next_of(self, kind: str) -> Any:
        """Return the next message of a type; those before it are thrown away."""
        while (message := await self.next())["type"] != kind:
            pass
        return message

    async def wait_closed(self) -> None:
        """Return when the channel is closed."""
        async with asyncio.timeout(TIMEOUT_S):
            await self.closed.wait()


@contextlib.asynccontextmanager
async def open_peer(address: str, name: str = "me", **channel: Any) -> AsyncIterator[PeerClient]:
    """Give a peer that has not offered yet; it is closed at the end."""
    async with open_stomp(address) as stomp:
        await stomp.subscribe("/topic/signaling")
        async with peer_over(stomp, name, **channel) as peer:
            yield peer


@contextlib.asynccontextmanager
async def peer_over(stomp: StompClient, name: str, **channel: Any) -> AsyncIterator[PeerClient]:
    """Give a peer that has not offered yet, over a session that is there."""
    peer = PeerClient(stomp, name, **channel)
    try:
        yield peer
    finally:
        await peer.pc.close()
