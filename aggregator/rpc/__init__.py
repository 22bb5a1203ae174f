"""gRPC calls in; messages, streams of wire bytes and status codes out."""
