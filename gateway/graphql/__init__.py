"""Take GraphQL operations over HTTP and graphql-transport-ws; answer from the aggregator and hub.

An operation goes through ``documents`` (parse, limits, validate) and then ``execution`` (run it
against ``schema``), whichever way it came: ``requests`` holds the rules of GraphQL over HTTP and
``http`` applies them, ``session`` holds those of graphql-transport-ws and ``websocket`` applies
them. ``errors`` has the one table from our errors to GraphQL's.
"""
