"""Follow the live stream of a gateway: messages of ``/api/v1/stream`` in, updates out."""
