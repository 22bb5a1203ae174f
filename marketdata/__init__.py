"""Hold what both ends of a wire share: messages, framing, domain rules, errors, a small runtime."""
