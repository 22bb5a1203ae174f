"""Take the updates of the Watch stream; give each to every subscription of its topic.

How a live session uses it:

- Make a :class:`~gateway.hub.subscription.Subscription` and give it to ``Hub.subscribe``. The
  known states of its symbols wait in it at once, all later ones follow without a hole or a repeat.
- ``send(subscription, batch)`` of its :class:`~gateway.hub.subscription.Subscriber` is called with
  each batch while nothing waits in the subscription. If it returns False, the batch waits.
- ``flush(subscriptions)`` is called when something waits in them. The session takes it while its
  connection is writable, and goes on when that has drained. Nothing in the hub waits for a client.
- If ``subscription.overflowed`` is set, the reader was too slow for ``policy: buffer``: end it.
- ``Hub.unsubscribe`` each subscription when it or its connection ends.
"""
