"""Tell browsers how to connect: the STUN and TURN servers, and the target of offers."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from gateway.stomp.protocol.signaling import GATEWAY_ID
from gateway.webrtc.options import PeerOptions

PATH = "/api/v1/webrtc"


class IceServer(BaseModel):
    """An RTCIceServer of the browsers."""

    urls: str = Field(examples=["stun:stun.example.org:3478"])
    username: str | None = None
    credential: str | None = None


class WebRtcBody(BaseModel):
    """The body: all that a browser needs for its RTCPeerConnection."""

    peerId: str = Field(  # noqa: N815  JSON's name
        description="the `targetId` of an offer to the gateway"
    )
    iceServers: list[IceServer]  # noqa: N815


def webrtc_router(options: PeerOptions) -> APIRouter:
    """Return the route."""
    turn = {"username": options.turn_username, "credential": options.turn_password}
    body = WebRtcBody(
        peerId=GATEWAY_ID,
        iceServers=[
            IceServer(urls=url, **(turn if url.startswith("turn") else {}))
            for url in options.ice_servers
        ],
    )
    content = body.model_dump_json(exclude_none=True)
    router = APIRouter()

    async def get_webrtc() -> Response:
        return Response(content, media_type="application/json")

    router.add_api_route(
        PATH,
        get_webrtc,
        methods=["GET"],
        tags=["live"],
        operation_id="getWebRtc",
        summary="How to connect by WebRTC",
        response_model=WebRtcBody,
    )
    return router
