"""Several gateways behind one address: what they share, and what they say to each other."""
