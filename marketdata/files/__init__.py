"""Files of trades in many formats come in, trades with exact numbers go out."""
