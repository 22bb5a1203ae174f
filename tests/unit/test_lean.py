"""Services load nothing that they do not need to listen."""

from __future__ import annotations

import subprocess
import sys

import pytest

UNUSED = ("rich", "pandas", "aiortc", "email_validator", "graphql", "alembic")


@pytest.mark.parametrize("service", ["ingest", "aggregator", "gateway", "standalone"])
def test_a_service_starts_without_packages_that_listening_does_not_need(service: str) -> None:
    code = f"import sys, {service}.app; print(*[m for m in {UNUSED} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == []
