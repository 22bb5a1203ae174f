"""Which session and trading day a time belongs to."""
