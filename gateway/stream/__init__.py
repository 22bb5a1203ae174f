"""Take JSON messages over WebSocket, or one GET over SSE; send states as JSON, live.

The rules know no socket: :class:`~gateway.stream.session.StreamSession` (WebSocket),
:class:`~gateway.stream.events.EventSession` (SSE) and :class:`~gateway.stream.plain.PlainSession`
(the original's WebSocket) are live sessions. ``endpoint`` and ``response`` are the edges.
"""
