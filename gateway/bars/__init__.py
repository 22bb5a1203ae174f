"""Take questions about bars; answer with pages of history, or with history that becomes live."""
