"""Trades in the values of Kafka topics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from random import Random

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError
from google.protobuf.message import DecodeError

from connect.outlet import MAX_TICK_BYTES, Item, Outlet
from connect.records import Records
from connect.settings import ConnectSettings
from connect.states import States
from connect.trades import make_id
from marketdata.wire.market_data_pb2 import Tick

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
_MOST_RECORDS = 10_000
# Kafka's own timer for "nothing new"; records are returned at once.
_POLL_MS = 60_000


class KafkaSource:
    """The trades of some topics.

    Offsets are committed when ingest has acknowledged the ticks. What is read twice after a crash
    has the same ids, so it counts once.

    Args:
        topics: their names.
        settings: the settings.
        outlet: takes the trades.
        states: says what happens.

    Raises:
        SourceFailed: the fields are not named as they should be.
    """

    def __init__(
        self, topics: Sequence[str], settings: ConnectSettings, outlet: Outlet, states: States
    ) -> None:
        self._topics = topics
        self._settings = settings
        self._outlet = outlet
        self._states = states
        self._records = Records(settings, states)
        self._read = self._read_tick if settings.format == "tick" else self._read_json
        self._random = Random()  # noqa: S311  jitter

    @property
    def dropped(self) -> int:
        """How many records were no valid trades."""
        return self._records.bad

    async def run(self) -> None:
        """Run until cancelled."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            self._states.enter("connecting", self._settings.kafka)
            consumer = AIOKafkaConsumer(
                *self._topics,
                bootstrap_servers=self._settings.kafka,
                group_id=self._settings.group,
                client_id="connect",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
            )
            try:
                await consumer.start()
                self._states.enter("live", " ".join(self._topics))
                backoff_s = FIRST_BACKOFF_S
                await self._consume(consumer)
            except (KafkaError, OSError) as exc:
                self._states.enter("lost", f"{type(exc).__name__}: {exc!s:.200}")
            finally:
                await consumer.stop()
            await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            found: dict[
                TopicPartition, list[ConsumerRecord[bytes, bytes]]
            ] = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
            for records in found.values():
                for record in records:
                    await self._outlet.put(self._read(record))
            if not found:
                continue
            await self._outlet.flush()
            try:
                await consumer.commit(
                    {partition: records[-1].offset + 1 for partition, records in found.items()}
                )
            except CommitFailedError:
                # Others have taken over the partitions, and read from the last commit on.
                self._states.say("rebalanced: other members of the group read some again")

    def _read_json(self, record: ConsumerRecord[bytes, bytes]) -> Iterator[Item]:
        place, name = _place(record), _identity(record)
        try:
            message = json.loads(record.value or b"", parse_float=str)
        except (ValueError, RecursionError):
            self._records.note_bad(f"{place}: it is not JSON: {record.value!r:.80}")
            return
        yield from self._records.trades(message, place, name)

    def _read_tick(self, record: ConsumerRecord[bytes, bytes]) -> Iterator[Item]:
        size = len(record.value or b"")
        if size > MAX_TICK_BYTES:
            self._records.note_bad(f"{_place(record)}: {size} bytes, limit is {MAX_TICK_BYTES}")
            return
        try:
            tick = Tick.FromString(record.value or b"")
        except DecodeError:
            self._records.note_bad(f"{_place(record)}: it is not a Tick")
            return
        tick.symbol = f"{self._settings.symbol_prefix}{tick.symbol or self._settings.symbol}"
        name = tick.trade_id.decode("latin-1") if tick.trade_id else _identity(record)
        if not tick.trade_id or self._settings.trade_id_prefix:
            tick.trade_id = make_id(f"{self._settings.trade_id_prefix}{name}")
        payload = tick.SerializeToString()
        if len(payload) > MAX_TICK_BYTES:
            self._records.note_bad(f"{_place(record)}: the tick is too long with its prefixes")
            return
        yield payload


def _place(record: ConsumerRecord[bytes, bytes]) -> str:
    return f"offset {record.offset} of {record.topic}/{record.partition}"


def _identity(record: ConsumerRecord[bytes, bytes]) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
