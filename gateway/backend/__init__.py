"""Ask the aggregator, through the rules that keep a failing one from hurting clients."""
