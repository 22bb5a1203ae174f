"""Turn ticks into bars: by the clock, by trades, by volume, by money."""
