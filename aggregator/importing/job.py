"""Import files of trades into a store; go on where the last attempt ended."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from aggregator.bars.candle import MAX_INT64
from aggregator.bars.kernel.candle import EXCLUDE_VOLUME
from aggregator.importing.files import SourceFile, identify
from aggregator.importing.ids import Ids, split_id
from aggregator.importing.ledger import Entry, ImportRunsElsewhere, Ledger, Plan, Undecided
from aggregator.importing.progress import Progress
from aggregator.importing.segment import Segment
from aggregator.importing.staging import Staging, add_sizes
from aggregator.importing.statements import Way
from aggregator.importing.storing import Storing, finish_interrupted
from aggregator.sessions.sessions import SessionRule
from aggregator.store.database import Database
from marketdata.decimals import plain_decimal
from marketdata.errors import InvalidSymbol, MarketDataError
from marketdata.files.options import FileOptions
from marketdata.files.source import BadFile, Part
from marketdata.files.trades import BadRow, TradeFile
from marketdata.files.trades import Trade as Row
from marketdata.intervals import Interval, IntervalKind
from marketdata.timestamps import NS_PER_S, UnitHistory, to_nanoseconds
from marketdata.validation import RejectReason, TickRules

# The trades between two checkpoints: after a crash, at most these are read again. They are also the
# trades in memory: 100,000 candles take 60 MB with the bars they fold into.
MAX_SEGMENT_TRADES = 250_000
MAX_SEGMENT_CANDLES = 100_000
# The bars between two checkpoints in whose time rows are refused; each takes 200 bytes.
_MAX_REFUSED_BARS = 1_000_000
# The price x volume of a trade: 10^18 of them still have a finite sum.
_MAX_MONEY = 1e290
_MAX_SPELLINGS = 200_000
# How often the progress is shown, in trades.
_SHOW_EVERY = 20_000


class RowsRefused(MarketDataError):
    """Rows are not valid trades, and the import is strict."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"{rows:,} rows are not valid trades, so nothing was stored (--strict)")


class TooManyRefused(MarketDataError):
    """So many rows are refused that this is no file of trades."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where}: too many rows like this one are not valid trades")


class Screen(Protocol):
    """What shows the progress."""

    def reading(self, name: str, size: int) -> None:
        """Show that the reading of a file begins."""

    def understood(self, name: str, title: str) -> None:
        """Show how a file is written."""

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
    # The same rules, for times in nanoseconds.
    trades_in_ns: TickRules
    # All other settings that change the result, as NAME=VALUE.
    settings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator says of the files."""

    # What happens to bars that are stored already.
    way: Way = Way.ADD
    # No trade is in two of the files.
    distinct: bool = False
    # One row that is not a valid trade refuses the import.
    strict: bool = False
    # How the files are read.
    files: FileOptions = field(default_factory=FileOptions)


class Import:
    """One import: either all of its files are stored or, if one of them cannot be used, nothing.

    Args:
        database: where the bars go; its tables must exist.
        parts: the files.
        rules: how trades become bars.
        choices: what the operator says of the files.
        retention: how long bars are kept, in ns by interval.
        screen: shows the progress.
        clock: the time in ns.
    """

    def __init__(
        self,
        database: Database,
        parts: Sequence[Part],
        rules: Rules,
        choices: Choices,
        *,
        retention: Mapping[str, int],
        screen: Screen,
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._parts = parts
        self._rules = rules
        self._choices = choices
        self._retention = retention
        self._screen = screen
        self._clock = clock
        self._latest_ns = rules.trades.latest_ns(clock())
        # From a symbol as a file has it to its normal form.
        self._symbols: dict[str, str] = {}
        # The volume of all trades so far and its decimals, by symbol.
        self._volumes: dict[str, tuple[int, int]] = {}
        # The ids of trades that were counted, by symbol as the present file has it.
        self._ids: dict[str, Ids] = {}
        self._units = UnitHistory()
        self.progress = Progress()
        self.dropped = 0
        # Bars in whose time rows were refused.
        self.incomplete = 0
        # Whether an earlier attempt had begun it.
        self.resumed = False
        # Files that are not read: another file has the same content, or they were imported before.
        self.repeated: list[tuple[Part, str]] = []

    async def run(self) -> None:
        """Read the files, then store their bars.

        Raises:
            BadFile: a file cannot be read, or has no valid trade.
            RowsRefused: a row is not a valid trade, and the import is strict.
            Undecided: trades of the files may be in the store already.
            ImportRunsElsewhere: another process imports the same.
        """
        sources = self._identify()
        settings = json.dumps(self._settings)
        name = self._name(sources)
        await finish_interrupted(self._database, name, self._clock())
        ledger = Ledger(self._database, name, self._choices.way, distinct=self._choices.distinct)
        known = await ledger.entries(sources)
        plan = self._plan(sources, known)
        staging = Staging(self._database, name)
        self.progress = await staging.load(plan, self._clock())
        self._volumes = staging.volumes
        self._units.unit_ns = self.progress.unit_ns
        self.resumed = self.progress.file > 0 or self.progress.row > 0
        if not staging.is_storing:
            try:
                self._check_settings(sources, known, settings)
                self._note_repeated(sources, known, plan)
                await self._read_all(staging, list(sources.values()), plan)
                self.dropped = await staging.drop_old(self._retention, self._clock())
                await ledger.check(sources, [i.name for i in self._rules.intervals if is_day(i)])
                async with self._database.write() as connection:
                    await staging.begin_to_store(
                        connection, self._choices.way, self.progress, self._clock()
                    )
                    await ledger.enter(
                        connection, sources, plan, settings, known=known, now_ns=self._clock()
                    )
            except Undecided:
                # With another option the same rows need not be read again.
                raise
            except MarketDataError as exc:
                if not isinstance(exc, ImportRunsElsewhere):
                    await staging.discard()
                raise
        storing = Storing(self._database, name)
        self._screen.storing(await storing.count())
        while (stored := await storing.store_some(self._clock())) is not None:
            self.progress = stored.progress
            self._screen.stored(stored.bars)
        self.incomplete = await storing.finish()

    def _identify(self) -> dict[str, SourceFile]:
        sources: dict[str, SourceFile] = {}
        for source in map(identify, self._parts):
            first = sources.setdefault(source.content, source)
            if first is not source:
                self.repeated.append((source.part, f"has the same content as {first.part}"))
        return sources

    @property
    def _settings(self) -> list[str]:
        # With other options the same bytes are other trades.
        options = str(self._choices.files)
        return [*self._rules.settings, *([f"options: {options}"] if options else [])]

    def _name(self, sources: Collection[str]) -> str:
        # The same files, in the same order, under the same rules. How bars are stored is decided
        # afterwards.
        digest = hashlib.sha256()
        names = (interval.name for interval in self._rules.intervals)
        for text in (*names, *self._settings, *sources, self._choices.way is Way.REPLACE):
            digest.update(f"{text}\0".encode())
        return digest.hexdigest()

    def _plan(self, sources: Collection[str], known: Mapping[str, Entry]) -> dict[str, list[str]]:
        # A file is read for the intervals that it has no bars of yet.
        plan: dict[str, list[str]] = {}
        for content in sources:
            names = [interval.name for interval in self._rules.intervals]
            entry = known.get(content)
            if entry is not None and entry.whole and self._choices.way is not Way.REPLACE:
                names = [name for name in names if name not in entry.intervals]
            if names:
                plan[content] = names
        return plan

    def _note_repeated(
        self, sources: Mapping[str, SourceFile], known: Mapping[str, Entry], plan: Plan
    ) -> None:
        for content in known.keys() - plan.keys():
            entry = known[content]
            at = datetime.fromtimestamp(entry.imported // NS_PER_S, UTC)
            self.repeated.append(
                (
                    sources[content].part,
                    f"was imported at {at:%Y-%m-%d %H:%M:%S} UTC ({entry.name})",
                )
            )

    def _check_settings(
        self,
        sources: Mapping[str, SourceFile],
        known: Mapping[str, Entry],
        settings: str,
    ) -> None:
        for content, entry in known.items():
            if entry.settings != settings and self._choices.way is not Way.REPLACE:
                before = ", ".join(sorted({*json.loads(entry.settings)} - {*json.loads(settings)}))
                raise Undecided(
                    f"{sources[content].part} was imported with other settings ({before}); "
                    "--replace makes its bars again"
                )

    async def _read_all(self, staging: Staging, sources: Sequence[SourceFile], plan: Plan) -> None:
        while self.progress.file < len(sources):
            source = sources[self.progress.file]
            if source.content in plan:
                await self._read(staging, source, plan[source.content])
            else:
                before = self.progress.file, 0
                self.progress.file += 1
                await staging.add([], [], {}, before, self.progress, now_ns=self._clock())
        if self._choices.strict and self.progress.bad:
            raise RowsRefused(self.progress.bad.total())

    async def _read(self, staging: Staging, source: SourceFile, names: Collection[str]) -> None:
        part, progress = source.part, self.progress
        before = progress.file, progress.row
        file = TradeFile(
            part,
            self._choices.files,
            lambda bad: self._skip_row(bad, file, segment),
            lambda layout: self._screen.understood(part.name, layout.title),
        )
        self._screen.reading(str(part), part.path.stat().st_size)
        self._ids = {}
        intervals = [interval for interval in self._rules.intervals if interval.name in names]
        segment = Segment(intervals, self._rules.rule_for)
        first = progress.trades + progress.duplicates
        for trade in file.read(progress.row):
            if trade[5] and trade[0] not in self._ids:
                symbol = self._rules.trades.normal_symbol(trade[0])
                entered = self._choices.way is not Way.REPLACE
                self._ids[trade[0]] = await staging.load_ids(
                    symbol, source.content, entered=entered
                )
            self._add(segment, trade, file)
            trades = progress.trades + progress.duplicates - first
            if trades >= MAX_SEGMENT_TRADES or segment.candles >= MAX_SEGMENT_CANDLES:
                await self._save(staging, segment, source, before, file.row)
                before = progress.file, progress.row
                first = progress.trades + progress.duplicates
            if trades % _SHOW_EVERY == 0:
                self._screen.read(file.position)
        if not progress.file_trades and not progress.file_duplicates:
            rows = sum(progress.file_bad.values())
            raise BadFile(
                f"{part}: none of its {rows:,} rows is a valid trade ({_counts(progress.file_bad)})"
                if rows
                else f"{part}: has no trades"
            )
        progress.file += 1
        progress.file_trades = progress.file_duplicates = progress.unit_ns = 0
        progress.file_bad.clear()
        self._units = UnitHistory()
        await self._save(staging, segment, source, before, 0)

    async def _save(
        self,
        staging: Staging,
        segment: Segment,
        source: SourceFile,
        before: tuple[int, int],
        row: int,
    ) -> None:
        hours = [(source.content, hour) for hour in segment.hours()]
        bars = list(segment.drain())
        refused, segment.refused = segment.refused, Counter()
        self.progress.out_of_session += segment.out_of_session
        segment.out_of_session = 0
        self.progress.row = row
        self.progress.unit_ns = self._units.unit_ns
        await staging.add(bars, hours, refused, before, self.progress, now_ns=self._clock())

    def _skip_row(self, bad: BadRow, file: TradeFile, segment: Segment) -> None:
        where = f"{file.part.name}: {bad}"
        self._skip(bad.kind, where, segment, (bad.symbol, bad.time, file.in_ns))

    # What is known of the row: its symbol, its time, and whether that is in nanoseconds.
    def _skip(
        self, reason: str, where: str, segment: Segment, known: tuple[str, int, bool]
    ) -> None:
        symbol, time, in_ns = known
        self.progress.reject(reason, where)
        self.progress.file_bad[reason] += 1
        rules = self._rules.trades_in_ns if in_ns else self._rules.trades
        ts = to_nanoseconds(time, rules.timestamp_unit)
        try:
            symbol = rules.normal_symbol(symbol)
        except InvalidSymbol:
            return
        if 0 < ts <= self._latest_ns:
            segment.refuse(symbol, ts)
            if len(segment.refused) > _MAX_REFUSED_BARS:
                raise TooManyRefused(where)

    def _add(self, segment: Segment, row: Row, file: TradeFile) -> None:
        raw, price, volume, time, decimals, trade_id, excludes = row
        progress = self.progress
        symbol = self._symbols.get(raw)
        if symbol is None:
            # The reader returns only valid symbols.
            symbol = self._rules.trades.normal_symbol(raw)
            if symbol in self._volumes or len(self._volumes) < self._rules.max_symbols:
                if len(self._symbols) >= _MAX_SPELLINGS:
                    self._symbols.clear()
                self._symbols[raw] = symbol
            else:
                self._reject(RejectReason.TOO_MANY_SYMBOLS, row, file, segment)
                return
        rules = self._rules.trades_in_ns if file.in_ns else self._rules.trades
        ts = rules.check(
            *(price, volume, time, self._latest_ns, self._units),
            decimals=decimals,
            excludes=excludes,
            # Any rule takes prices above 0.
            price_rule="positive" if price > 0.0 else rules.prices.of(symbol),
        )
        if isinstance(ts, RejectReason):
            self._reject(ts, row, file, segment)
            return
        # So no sum of a bar can be too large, in whatever bars these trades are.
        added = 0 if excludes & EXCLUDE_VOLUME else volume
        total, scale = self._volumes.get(symbol, (0, decimals))
        if scale == decimals:
            total += added
        else:
            total, scale = add_sizes((total, scale), (added, decimals))
        if total > MAX_INT64 or abs(price * volume) * 10 ** (scale - decimals) > _MAX_MONEY:
            self._reject(RejectReason.TOTAL_OVERFLOW, row, file, segment)
            return
        found = split_id(trade_id) if trade_id else None
        if found is not None and not self._ids[raw].add(found):
            progress.duplicates += 1
            progress.file_duplicates += 1
            return
        self._volumes[symbol] = total, scale
        if not progress.file_trades:
            progress.file_first_ts = ts
        progress.trades += 1
        progress.file_trades += 1
        progress.first_ts = min(progress.first_ts, ts)
        progress.last_ts = max(progress.last_ts, ts)
        # Of trades of the same time, those of the file that begins earlier come first, in whatever
        # order the files are imported.
        sequence = progress.file_first_ts + progress.file_trades
        segment.add((symbol, price, volume, ts, sequence, decimals, excludes, found))

    def _reject(self, reason: RejectReason, row: Row, file: TradeFile, segment: Segment) -> None:
        symbol, price, volume, time, decimals, *_ = row
        values = f"{symbol},{price},{plain_decimal(volume, decimals)},{time}"
        where = f"{file.part.name}: row {file.row}: {reason} ({values})"
        self._skip(reason, where, segment, (symbol, time, file.in_ns))


def is_day(interval: Interval) -> bool:
    """Return whether bars of an interval are trading days."""
    return interval.kind is IntervalKind.DAY


def _counts(bad: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in bad.items())
