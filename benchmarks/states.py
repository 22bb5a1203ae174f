"""Stand in for the aggregator, so that the gateway is measured alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import grpc

from marketdata.channel import server_options
from marketdata.wire import market_data_pb2 as wire

EPOCH = 1_735_201_200_000_000_000
# States in one message at most, as the aggregator's.
MAX_UPDATES = 10_000


class Rounds:
    """Makes and publishes rounds: one new state per symbol, with its number as volume."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        # The rounds so far, which are the sequence of each symbol.
        self.sent = 0
        self.states = [
            wire.Aggregate(symbol=s, open=100, high=149, low=100, epoch=EPOCH) for s in symbols
        ]

    def publish(self) -> None:
        """Publish one more state of each symbol."""
        raise NotImplementedError

    def make_round(self) -> list[wire.Aggregate]:
        """Return the next state of each symbol; good until the next round."""
        self.sent = number = self.sent + 1
        now_ns = time.time_ns()
        for state in self.states:
            state.close = 100 + number % 50
            state.volume = state.trades = state.sequence = number
            state.vwap = 124.5 + number % 7 / 7
            state.timestamp = now_ns
        return self.states


class StateSource(Rounds):
    """Publish rounds over gRPC; rounds that wait go in one message."""

    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__(symbols)
        self.port = 0
        self._due: SimpleQueue[bytes | None] = SimpleQueue()

    def publish(self) -> None:
        """Publish one more state of each symbol."""
        self._due.put(wire.UpdateBatch(updates=self.make_round()).SerializeToString())

    def stop(self) -> None:
        """End the stream."""
        self._due.put(None)

    def watch(self, requests: Iterator[wire.WatchRequest], context: Any) -> Iterator[bytes]:
        """Send the published rounds."""
        context.send_initial_metadata((("epoch", str(EPOCH)),))
        limit = MAX_UPDATES // len(self.symbols)
        while (first := self._due.get()) is not None:
            rounds = [first]
            # Messages of a repeated field, joined, are the message with all its values.
            while len(rounds) < limit and not self._due.empty():
                following = self._due.get()
                if following is None:
                    self._due.put(None)
                    break
                rounds.append(following)
            yield b"".join(rounds)


@contextmanager
def run_source(symbols: Sequence[str]) -> Iterator[StateSource]:
    """Run a source for the time of the context."""
    source = StateSource(symbols)
    server = grpc.server(ThreadPoolExecutor(4), options=server_options())
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "marketdata.MarketDataService",
                {
                    "Watch": grpc.stream_stream_rpc_method_handler(
                        source.watch, request_deserializer=wire.WatchRequest.FromString
                    )
                },
            ),
        )
    )
    source.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield source
    finally:
        source.stop()
        server.stop(0).wait()
