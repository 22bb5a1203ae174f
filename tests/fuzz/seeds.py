"""What the bounded run sends: the beginning of one seed, and every batch that broke something.

A change of the generators changes what a seed says, so each break also has a test of its own, named
for the behaviour.
"""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """Cases ``first`` to ``first + cases`` of a seed, as ``python -m tests.fuzz`` names them."""

    seed: int
    first: int
    cases: int


KEPT = (
    # A GOAWAY in the aggregator's log; text that is no UTF-8; frames behind a refused handshake.
    Span(1, 0, 1440),
    Span(2, 0, 1080),
    Span(3, 0, 720),
    # A callback that is none.
    Span(4, 0, 360),
    # A GraphQL client that left; a HEAD with a broken body; HPACK errors on standard error.
    Span(20261123, 360, 360),
    Span(20261123, 14760, 360),
    Span(20261123, 40680, 360),
    # A session begun by a tick that overflows.
    Span(20261123, 40320, 360),
)
