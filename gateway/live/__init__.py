"""Serve one live client, whichever endpoint it came to: subscriptions, status, and its end.

An endpoint derives its session from :class:`~gateway.live.session.LiveSession`, which is the
handler of a :class:`~gateway.clients.connection.Connection` and a subscriber of the hub, and gives
each subscription a :class:`~gateway.live.format.Format`, which says how its messages look.
"""
