"""Connections to live clients: what they send, what they are sent, and how fast they read."""
