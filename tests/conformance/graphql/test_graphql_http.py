"""The audits of graphql-http, from npm: GraphQL over HTTP, sentence by sentence."""

from __future__ import annotations

import json

from tests.conformance.node_tools import run_node
from tests.doubles.market import Market


async def test_every_audit_passes(market: Market) -> None:
    results = json.loads(await run_node("graphql_http_audits.cjs", market.url))
    assert len(results) > 50
    # "error" is a MUST, "warn" a SHOULD, "notice" a MAY.
    assert [result for result in results if result["status"] != "ok"] == []
