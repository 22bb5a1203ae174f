"""Import files of trades into a store; go on where the last attempt ended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aggregator.importing.progress import Progress
from aggregator.importing.segment import Segment
from aggregator.importing.staging import Staging
from aggregator.sessions.sessions import SessionRule
from aggregator.store.database import Database
from aggregator.store.feed_spans import save_spans
from marketdata.intervals import Interval
from marketdata.timestamps import UnitHistory
from marketdata.tradefiles import BadFile, TradeFile
from marketdata.trades import Row
from marketdata.validation import RejectReason, TickRules

# The trades between two checkpoints: after a crash, at most these are read again. They are also the
# trades in memory: 100,000 candles take 60 MB with the bars they fold into.
MAX_SEGMENT_TRADES = 250_000
MAX_SEGMENT_CANDLES = 100_000
# Read at both ends of a file, to recognize it.
_FINGERPRINT_BYTES = 1 << 20
_MAX_SPELLINGS = 200_000
# How often the progress is shown, in trades.
_SHOW_EVERY = 20_000


class Screen(Protocol):
    """What shows the progress."""

    def reading(self, path: Path, size: int) -> None:
        """Show that the reading of a file begins."""

    def read(self, position: int) -> None:
        """Show how many bytes of the file are read."""

    def storing(self, bars: int) -> None:
        """Show how many bars will be stored."""

    def stored(self, bars: int) -> None:
        """Show how many more bars are stored."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How trades become bars."""

    intervals: Sequence[Interval]
    rule_for: Callable[[str], SessionRule]
    # Which trades are valid.
    trades: TickRules
    max_symbols: int
    # All other settings that change the result.
    settings: Sequence[str]


class Import:
    """One import; its bars are made of all files together.

    Args:
        database: where the bars go; its tables must exist.
        paths: the files, in the order in which trades of the same time count.
        rules: how trades become bars.
        retention: how long bars are kept, in ns by interval.
        screen: shows the progress.
        clock: the time in ns.
    """

    def __init__(
        self,
        database: Database,
        paths: Sequence[Path],
        rules: Rules,
        *,
        retention: Mapping[str, int],
        screen: Screen,
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._paths = paths
        self._rules = rules
        self._retention = retention
        self._screen = screen
        self._clock = clock
        self._latest_ns = rules.trades.latest_ns(clock())
        # From a symbol as a file has it to its normal form.
        self._symbols: dict[str, str] = {}
        self._known: set[str] = set()
        self.progress = Progress()
        self.dropped = 0
        # Whether an earlier attempt had begun it.
        self.resumed = False

    async def run(self) -> None:
        """Read the files, then store their bars.

        Raises:
            BadFile: a file cannot be read.
            TotalOverflow: a sum is too large.
            ImportRunsElsewhere: another process imports the same.
        """
        staging = Staging(self._database, self._name())
        self.progress = await staging.load(self._clock())
        self._known |= staging.symbols
        self.resumed = self.progress.file > 0 or self.progress.row > 0
        while self.progress.file < len(self._paths):
            await self._read(staging, self._paths[self.progress.file])
        self.dropped = await staging.drop_old(self._retention, self._clock())
        self._screen.storing(await staging.count())
        while count := await staging.publish_some(self.progress, self._clock()):
            self._screen.stored(count)
        if self.progress.trades:
            # The files have all trades of their time, so it counts as covered.
            span = self.progress.first_ts, self.progress.last_ts + 1
            await save_spans(self._database, [span])
        await staging.finish()

    def _name(self) -> str:
        # The same files, in the same order, under the same rules.
        digest = hashlib.sha256()
        for text in (*(i.name for i in self._rules.intervals), *self._rules.settings):
            digest.update(text.encode() + b"\0")
        for path in self._paths:
            digest.update(_fingerprint(path))
        return digest.hexdigest()

    async def _read(self, staging: Staging, path: Path) -> None:
        progress = self.progress
        before = progress.file, progress.row
        file = TradeFile(path, lambda bad: progress.reject(bad.kind, f"{path.name}: {bad}"))
        self._screen.reading(path, path.stat().st_size)  # noqa: ASYNC240  nothing else runs here
        segment = Segment(self._rules.intervals, self._rules.rule_for)
        units = UnitHistory()
        first = progress.trades
        for trade in file.read(progress.row):
            self._add(segment, trade, file, units)
            trades = progress.trades - first
            if trades >= MAX_SEGMENT_TRADES or segment.candles >= MAX_SEGMENT_CANDLES:
                await self._save(staging, segment, before, file.row)
                before, first = (progress.file, progress.row), progress.trades
            if trades % _SHOW_EVERY == 0:
                self._screen.read(file.position)
        progress.file += 1
        await self._save(staging, segment, before, 0)

    async def _save(
        self, staging: Staging, segment: Segment, before: tuple[int, int], row: int
    ) -> None:
        bars = list(segment.drain())
        self.progress.out_of_session += segment.out_of_session
        segment.out_of_session = 0
        self.progress.row = row
        await staging.add(bars, before, self.progress, self._clock())

    def _add(self, segment: Segment, trade: Row, file: TradeFile, units: UnitHistory) -> None:
        raw, price, volume, time = trade
        progress = self.progress
        symbol = self._symbols.get(raw)
        if symbol is None:
            # The reader returns only valid symbols.
            symbol = self._rules.trades.normal_symbol(raw)
            if symbol in self._known or len(self._known) < self._rules.max_symbols:
                self._known.add(symbol)
                if len(self._symbols) >= _MAX_SPELLINGS:
                    self._symbols.clear()
                self._symbols[raw] = symbol
            else:
                self._reject(RejectReason.TOO_MANY_SYMBOLS, trade, file)
                return
        ts = self._rules.trades.check(price, volume, time, self._latest_ns, units)
        if not isinstance(ts, RejectReason) and price * volume == float("inf"):
            ts = RejectReason.TOTAL_OVERFLOW
        if isinstance(ts, RejectReason):
            self._reject(ts, trade, file)
            return
        progress.trades += 1
        progress.first_ts = min(progress.first_ts, ts)
        progress.last_ts = max(progress.last_ts, ts)
        segment.add(symbol, price, volume, ts, progress.trades)

    def _reject(self, reason: RejectReason, trade: Row, file: TradeFile) -> None:
        values = ",".join(map(str, trade))
        self.progress.reject(reason, f"{file.path.name}: row {file.row}: {reason} ({values})")


def _fingerprint(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest = hashlib.sha256(str(size).encode())
            for position in (0, max(size - _FINGERPRINT_BYTES, 0)):
                file.seek(position)
                digest.update(file.read(_FINGERPRINT_BYTES))
            return digest.digest()
    except OSError as exc:
        raise BadFile(f"{path}: {exc.strerror or exc}") from exc
