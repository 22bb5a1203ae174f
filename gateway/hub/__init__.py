"""Take the states of the Watch stream; hand each to everyone who subscribed to its symbol.

How a door uses it, for one connection:

- Make a :class:`~gateway.hub.subscription.Subscription` and give it to ``Hub.subscribe``. What is
  known of its symbols waits in it at once, everything later follows without a hole or a repeat.
- ``flush(subscriptions)`` of the connection's :class:`~gateway.hub.hub.Subscriber` is called when
  something waits in them; :class:`~gateway.clients.outlet.Outlet` does the rest: it sends while the
  connection is writable, and goes on when it has drained. Nothing in the hub waits for a client.
- If ``subscription.overflowed`` is set, the reader was too slow for ``policy: buffer``: end it.
- ``Hub.unsubscribe`` each subscription when it or its connection ends.
"""
