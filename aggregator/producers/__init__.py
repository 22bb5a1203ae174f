"""Which ticks of a producer were applied, and the order of arrival."""
