"""Producer sessions, from the socket to the aggregator."""

from __future__ import annotations

from tests.doubles.pipeline import make_tick, run_aggregator, run_ingest
from tests.doubles.session_client import open_session


async def test_a_session_gets_a_welcome_and_an_ack_of_what_the_aggregator_has() -> None:
    async with (
        run_aggregator() as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
        open_session(ingest.listener.port) as client,
    ):
        assert (await client.welcome()).last_sequence == 0
        client.send(1, [make_tick(volume=1), make_tick(price=-1), make_tick(volume=2)])
        ack = await client.ack()
        assert (ack.last_sequence, ack.accepted, ack.duplicates) == (3, 2, 0)
        assert [(r.sequence, r.reason) for r in ack.rejections] == [(2, "price_not_positive")]
        assert aggregator.market.book.state("AAPL").volume == 3
        assert aggregator.market.last_sequence("feed-1") == 3
