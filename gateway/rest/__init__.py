"""Answer HTTP requests with JSON, and failures with problem documents."""
