"""The aggregator as several processes: ticks and questions in, each to the owner of its symbol."""
