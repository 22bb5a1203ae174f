"""Take HTTP requests and WebSockets of SockJS clients; hand each session over as a connection."""
