"""The gRPC edge: calls in, messages out."""
