"""Take STOMP over WebSocket and SockJS; send states, bars and signaling messages as MESSAGEs.

``protocol`` has the rules, ``endpoint`` the sessions, ``fanout`` the encoding of updates.
"""
