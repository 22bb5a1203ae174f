"""Live trades of exchanges: their messages through ccxt in, trades without gaps out."""
