"""Print live market data that comes over WebRTC: python webrtc_client.py localhost:8080 AAPL MSFT."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol


async def stomp(websocket: ClientConnection, command: str, body: str = "", **headers: str) -> None:
    """Send one STOMP frame; an underscore in a header's name stands for a hyphen."""
    lines = [command, *(f"{name.replace('_', '-')}:{value}" for name, value in headers.items())]
    await websocket.send("\n".join(lines) + f"\n\n{body}\0")


async def main(address: str, symbols: list[str]) -> None:
    """Print updates until the gateway ends."""
    me = str(uuid.uuid4())
    # An empty list: else aiortc asks a STUN server on the internet.
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    # Only the newest matters here, so nothing waits for a lost packet.
    channel = pc.createDataChannel("market-data", ordered=False, maxRetransmits=0)
    ended = asyncio.Event()
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

    channel.on("close", ended.set)
    url = f"ws://{address}/ws"
    async with connect(url, subprotocols=[Subprotocol("v12.stomp")], proxy=None) as websocket:
        await stomp(websocket, "CONNECT", accept_version="1.2", host="x")
        await stomp(websocket, "SUBSCRIBE", id="0", destination="/topic/signaling")
        await pc.setLocalDescription(await pc.createOffer())
        offer = {"senderId": me, "targetId": "gateway", "sdp": pc.localDescription.sdp}
        await stomp(
            websocket, "SEND", json.dumps({"type": "OFFER"} | offer), destination="/app/signal"
        )
        async for text in websocket:
            _, _, body = str(text).rstrip("\0").partition("\n\n")
            signal = json.loads(body) if body else {}
            if signal.get("targetId") == me and signal["type"] == "ANSWER":
                await pc.setRemoteDescription(RTCSessionDescription(signal["sdp"], "answer"))
                break
            if signal.get("targetId") == me and signal["type"] == "ERROR":
                sys.exit(signal["message"])
        await ended.wait()
    await pc.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
