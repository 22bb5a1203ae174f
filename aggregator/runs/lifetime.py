"""Take up the state that the last run left, and leave one to the next run."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

import structlog

from aggregator.checkpoint.format import VERSION
from aggregator.checkpoint.state import dump
from aggregator.core import Core
from aggregator.machine.checkpointer import Checkpointer
from aggregator.machine.inputs import Start
from aggregator.machine.recovery import Found, find_history, recover
from aggregator.machine.status import log_status
from aggregator.store.store import BarStore
from aggregator.ticklog.log import Buffer, Checkpoint, TickLog

log = structlog.get_logger()

# How often the times with a feed are stored.
SAVE_SPANS_S = 60.0
# How long the wall clock closes nothing after a restart, unless all senders come back earlier, and
# how long they then have to send what they hold.
AWAIT_SENDERS_S = 10
SETTLE_S = 1.0
# How long the last inputs, and then the state, may take to be written when the aggregator stops.
LOG_STOP_S = 2.5


class Lifetime:
    """One run of a core, from the state that the run before left to that which it leaves."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._log: TickLog | None = None
        self._checkpointer: Checkpointer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def restore(self, tick_log: TickLog | None = None) -> None:
        """Take up the state of the last run; call it before the first tick.

        Args:
            tick_log: takes each input before it is applied; None: nothing does.

        Raises:
            StartError: the log cannot be used.
        """
        core = self._core
        self._log = tick_log
        core.service.log_status = lambda: log_status(tick_log, self._checkpointer)
        taken = 0
        if core.store is not None:
            await core.store.start()
            taken = core.store.last_stop.epoch
        found = None if tick_log is None else self._find_history(tick_log, taken)
        if tick_log is not None and found is not None:
            start = await self._recover(tick_log, found)
        else:
            start = await self._begin(taken)
        if tick_log is not None:
            core.journal.use(tick_log)
        await core.journal.begin(start)
        # Their readers come back.
        core.holding.hold_all()
        if core.store is not None:
            await core.store.take(start.epoch)
            self._tasks.append(asyncio.create_task(self._keep_spans(core.store)))

    def _find_history(self, tick_log: TickLog, taken: int) -> Found | None:
        found = find_history(tick_log, self._core.fingerprint)
        reason = ""
        if found is not None and found.start.epoch < taken:
            reason = "the store has bars of a later run without this log"
        elif found is None and tick_log.next_offset > tick_log.first_offset:
            reason = "no checkpoint fits the settings, and the first records are gone"
        if reason:
            consequence = "the state begins with the stored bars, under a new epoch"
            log.error("log_not_used", reason=reason, consequence=consequence)
            return None
        return found

    async def _recover(self, tick_log: TickLog, found: Found) -> Start:
        core = self._core
        replayed = await recover(
            tick_log, found, core.machine, core.state, wait_for_room=self._wait_for_store
        )
        last = core.machine.started or found.start
        is_same = last.fingerprint == core.fingerprint
        log.info(
            "log_recovered",
            checkpoint=found.offset if found.content is not None else None,
            records=replayed.records,
            ticks=replayed.ticks,
            seconds=round(replayed.seconds, 3),
            offset=tick_log.next_offset,
            same_epoch=is_same,
        )
        if not is_same:
            log.warning("settings_changed", consequence="all ticks were applied anew, new epoch")
        epoch = last.epoch if is_same else max(time.time_ns(), last.epoch + 1)
        return self._make_start(epoch, last.began_at, empty=last.began_empty)

    async def _wait_for_store(self) -> None:
        store = self._core.store
        if store is not None and not store.room.is_free:
            await store.room.wait()

    def _make_start(self, epoch: int, began_at: int, *, empty: bool) -> Start:
        core = self._core
        return Start(epoch, core.fingerprint, began_at, empty, core.limits, core.state.release)

    # Begins a history, with what the store has.
    async def _begin(self, taken: int) -> Start:
        core = self._core
        is_empty = core.store is None or not await self._restore_from(core.store)
        began_at = 0 if self._log is None else self._log.next_offset
        # A new number: sequences of an earlier history do not compare with ours.
        start = self._make_start(max(time.time_ns(), taken + 1), began_at, empty=is_empty)
        core.market.start(start.epoch, 0)
        if self._log is not None:
            core.machine.begin(start)
            if not is_empty:
                # The records alone do not have this.
                await self._save_state(self._log)
        return start

    async def _restore_from(self, store: BarStore) -> bool:
        core, stop = self._core, store.last_stop
        engine = core.market.book.engine
        plan = engine.series.plan
        # After a crash too: the stored bars have at least the trades up to these sequences.
        core.producers.restore({name: mark.last_sequence for name, mark in stop.senders.items()})
        if stop.is_last:
            core.feeds.restore(stop.senders)
        spans = await store.load_spans()
        for start, end in spans:
            core.feeds.spans.add(start, end)
        refusals = await store.load_refusals()
        core.refusals.restore(refusals)
        bars = await store.restore(plan.intervals, plan.revise_ns, plan.max_closed)
        engine.restore(bars, core.clock(), is_whole=stop.is_last)
        core.market.book.open_restored()
        if bars:
            log.info("bars_restored", count=len(bars), after_orderly_stop=stop.is_last)
        return bool(bars or stop.senders or spans or refusals)

    def start(self) -> None:
        """Begin to close bars by the wall clock, when the senders of the last run are back."""
        if self._log is not None:
            self._checkpointer = self._make_checkpointer(self._log)
            self._checkpointer.start()
        if self._core.feeds.awaits_senders:
            self._tasks.append(asyncio.create_task(self._await_senders()))
        else:
            self._core.close_timer.start()

    def _make_checkpointer(self, tick_log: TickLog) -> Checkpointer:
        core = self._core
        checkpointer = Checkpointer(
            tick_log,
            position=lambda: core.machine.position,
            handed=lambda: 0 if core.store is None else core.store.handed,
            written=_nothing_to_write if core.store is None else core.store.wait_written,
            # The child has no store.
            env={**os.environ, **core.settings.to_env(), "AGGREGATOR_STORE": "off"},
            every_s=core.settings.checkpoint_s,
        )
        core.journal.notify(core.settings.checkpoint_replay_s, checkpointer.ask)
        return checkpointer

    async def _await_senders(self) -> None:
        # They still have trades for the bars that the last run left open.
        for _ in range(AWAIT_SENDERS_S):
            if not self._core.feeds.awaits_senders:
                break
            await asyncio.sleep(1.0)
        await asyncio.sleep(SETTLE_S)
        self._core.close_timer.start()

    async def stop(self) -> None:
        """Stop the timer that closes bars, store all bars, and save the state beside the log."""
        core = self._core
        core.close_timer.stop()
        core.holding.stop()
        core.service.log_drops()
        for task in self._tasks:
            task.cancel()
        if self._checkpointer is not None:
            await self._checkpointer.stop()
        # The last inputs close bars, so they come first.
        is_settled = self._log is None or await self._settle(self._log)
        is_stored = core.store is None or await self._stop_store(core.store)
        if self._log is not None:
            if is_settled and is_stored:
                await self._save_last_state(self._log)
            await self._log.close()

    async def _settle(self, tick_log: TickLog) -> bool:
        # Of a log that cannot be written nothing more is expected: what waits was not acknowledged.
        try:
            async with asyncio.timeout(0 if tick_log.problem else LOG_STOP_S):
                await self._core.journal.settle()
        except TimeoutError:
            return False
        return True

    async def _stop_store(self, store: BarStore) -> bool:
        core = self._core
        engine = core.market.book.engine
        await self._save_refusals(store)
        # With a log the state goes on as it is. Then trades that wait for others still wait, and a
        # start without the log must not trust the bars that lack them.
        is_exact = self._log is None or not engine.series.plan.by_trades
        return await store.stop(
            core.settings.store_drain_s,
            engine.last_bars() if self._log is None else engine.present_bars(),
            core.feeds.all_spans(core.clock()),
            core.feeds.marks(core.producers.all()) if is_exact else None,
        )

    async def _save_last_state(self, tick_log: TickLog) -> None:
        problem = ""
        try:
            async with asyncio.timeout(LOG_STOP_S):
                await self._save_state(tick_log)
        except (OSError, TimeoutError) as exc:
            problem = str(exc) or "it took too long"
        if problem:
            # The next start reads more records.
            log.error("checkpoint_failed", problem=problem)

    async def _save_state(self, tick_log: TickLog) -> None:
        # Nothing changes the state meanwhile, so its arrays may be written elsewhere.
        content: Sequence[Buffer] = list(dump(self._core.state))
        checkpoint = Checkpoint(self._core.machine.position + 1, VERSION)
        await asyncio.to_thread(tick_log.save_checkpoint, checkpoint, content)
        log.info("checkpoint_saved", offset=checkpoint.offset)

    async def _keep_spans(self, store: BarStore) -> None:
        # Until cancelled. After a crash the last minutes count as a time without a feed: trades of
        # them may have been on their way.
        core = self._core
        engine = core.market.book.engine
        while True:
            await asyncio.sleep(SAVE_SPANS_S)
            spans = core.feeds.all_spans(core.clock() - core.feeds.live_within_ns)
            if await self._save_refusals(store):
                await store.save_spans(spans, engine.open_ends())

    async def _save_refusals(self, store: BarStore) -> bool:
        changed = self._core.refusals.take_changes()
        is_saved = await store.save_refusals(changed)
        if not is_saved:
            self._core.refusals.changed.update(changed)
        return is_saved


async def _nothing_to_write(_count: int) -> None:
    pass
