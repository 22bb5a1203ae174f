"""Run an aggregator whose event loop is asked every millisecond how late it is.

``python -m benchmarks.loop_lag`` is ``python -m aggregator`` with such a timer beside it. At the
end it logs how late the timer was since SIGUSR1, in ms, as ``loop_lag``. What holds up the timer
holds up every producer and every client as long.
"""

from __future__ import annotations

import asyncio
import signal
import time

import structlog

from aggregator.app import main
from aggregator.settings import AggregatorSettings
from benchmarks.latencies import Latencies
from marketdata.runtime import run_service

log = structlog.get_logger()

EVERY_S = 0.001


async def _measure(lags: list[float]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lags.clear)
    while True:
        due = time.perf_counter() + EVERY_S
        await asyncio.sleep(EVERY_S)
        lags.append(max(time.perf_counter() - due, 0.0))


async def _main(settings: AggregatorSettings, stop: asyncio.Event) -> int:
    lags: list[float] = []

    async def end_with_service() -> None:
        await stop.wait()
        measuring.cancel()

    measuring = asyncio.create_task(_measure(lags))
    ending = asyncio.create_task(end_with_service())
    code = await main(settings, stop)
    await ending
    if lags:
        log.info("loop_lag", **Latencies(lags).to_dict())
    return code


if __name__ == "__main__":
    run_service("aggregator", AggregatorSettings, _main)
