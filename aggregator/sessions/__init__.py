"""A symbol and a time in; its session, trading day and phase out."""
