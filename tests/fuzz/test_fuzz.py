"""The kept seeds against running services."""

from __future__ import annotations

import time

from tests.fuzz.cases import MAKERS, make_case
from tests.fuzz.harness import fuzzing
from tests.fuzz.seeds import KEPT

# About 20 s on two cores; what a busy machine may take.
MAX_S = 180.0


def test_a_case_is_the_same_in_every_run() -> None:
    for index in range(len(MAKERS) * 3):
        assert make_case(7, index) == make_case(7, index)


async def test_malformed_input_at_every_endpoint_meets_documented_errors_and_leaves_nothing() -> (
    None
):
    begun = time.monotonic()
    async with fuzzing() as fuzz:
        for number, span in enumerate(KEPT):
            await fuzz.run(*span)
            if number == 0:
                fuzz.mark()
        await fuzz.check_leaks()
    assert time.monotonic() - begun < MAX_S
