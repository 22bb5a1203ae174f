"""WebRTC: offers of signaling clients in, market data over their data channels out."""
