"""Print live market data over WebRTC: python webrtc_client.py localhost:8080 AAPL MSFT."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

HELLO = "CONNECT\naccept-version:1.2\nhost:x\n\n\0"
SUBSCRIBE = "SUBSCRIBE\nid:0\ndestination:/topic/signaling\n\n\0"
SEND = "SEND\ndestination:/app/signal\n\n"


async def main(address: str, symbols: list[str]) -> None:
    """Print updates until the gateway ends."""
    me = str(uuid.uuid4())
    # An empty list: else aiortc asks a STUN server on the internet.
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    # Only the newest matters here, so nothing waits for a lost packet.
    channel = pc.createDataChannel("market-data", ordered=False, maxRetransmits=0)
    newest: dict[str, tuple[int, int]] = {}

    @channel.on("open")
    def subscribe() -> None:
        channel.send(json.dumps({"type": "subscribe", "id": "1", "symbols": symbols}))

    @channel.on("message")
    def show(text: str) -> None:
        message = json.loads(text)
        if message["type"] == "update":
            state = message["data"]
            position = (int(message["epoch"]), int(message["sequence"]))
            # Packets may overtake each other; sequences say which state is the newest.
            if position > newest.get(state["symbol"], (0, 0)):
                newest[state["symbol"]] = position
                print(state["symbol"], state["close"], state["volume"], flush=True)

    ended = asyncio.Event()
    channel.on("close", ended.set)
    async with connect(f"ws://{address}/ws", subprotocols=[Subprotocol("v12.stomp")]) as websocket:
        await pc.setLocalDescription(await pc.createOffer())
        offer = {"type": "OFFER", "senderId": me, "targetId": "gateway"}
        offer["sdp"] = pc.localDescription.sdp
        for frame in (HELLO, SUBSCRIBE, f"{SEND}{json.dumps(offer)}\0"):
            await websocket.send(frame)
        async for text in websocket:
            signal = json.loads(str(text).rstrip("\0").partition("\n\n")[2] or "{}")
            if signal.get("targetId") == me and signal["type"] == "ERROR":
                sys.exit(signal["message"])
            if signal.get("targetId") == me and signal["type"] == "ANSWER":
                await pc.setRemoteDescription(RTCSessionDescription(signal["sdp"], "answer"))
                break
    await ended.wait()
    await pc.close()


asyncio.run(main(sys.argv[1], sys.argv[2:]))
