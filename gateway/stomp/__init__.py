"""Take the bytes of one STOMP connection; say what it asks for, and write what it is sent."""
