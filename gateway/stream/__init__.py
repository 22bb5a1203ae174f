"""Take JSON messages over WebSocket, or one GET over SSE; send states as JSON, live.

The rules stand on the hub and know no socket: :class:`~gateway.stream.session.StreamSession`
(WebSocket), :class:`~gateway.stream.events.EventSession` (SSE) and
:class:`~gateway.stream.plain.PlainSession` (the original's WebSocket) are handlers of a
:class:`~gateway.clients.connection.Connection`. ``door`` and ``response`` are the edges.
"""
