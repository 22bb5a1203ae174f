"""The rules of STOMP: bytes of one connection in, requests and frames out.

How an edge uses it, for one WebSocket or SockJS session:

- ``StompSession(session_id, now)``.
- For each message of the socket: ``events = session.receive_data(message, now)``, empty ones too.
  Handle the events without awaiting, then write ``session.data_to_send()``: so a RECEIPT for a
  SUBSCRIBE goes out when no later message can be missed. Read on when it is written.
- ``Subscribed`` / ``Unsubscribed``: tell the hub; ``subscription`` may be a key. ``SignalSent``:
  hand ``message`` to every session with a ``SignalingTopic``, the sender included.
- To relay a signal, make one ``Message`` and call ``session.send_message(subscription, message,
  now)`` in each session. ``session.encode_update(subscription, message)`` returns the MESSAGE of an
  update, which the edge sends; then call ``session.note_sent(now)`` before the timers are checked.
- Arm one timer at ``session.next_timer()``. Arm it again when it fires (after
  ``session.check_timers(now)`` and a write) and after ``Connected``, the one event that can move it
  earlier.
- After each call: if ``session.close`` is set, write ``data_to_send()`` with a time limit, close
  the socket with ``close.code`` and ``close.reason``, and remove the session from the hub. To end
  a session yourself: ``session.fail(SlowConsumer(...), now)``. A lost socket needs no call.
- ``str`` goes out as text and ``bytes`` as binary, one message each. While
  ``session.expects_heart_beats``, SockJS sends no ``h``.
"""
