"""Compiled loops: the wire bytes of states to the JSON of every endpoint, without a message.

They write what :mod:`gateway.encoding` writes, byte for byte, of what the aggregator usually sends.
They leave the rest, such as unknown fields, to the protobuf library and to ``gateway.encoding``.
"""
