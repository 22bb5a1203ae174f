"""``python -m aggregator log``: show, check and print a tick log, also of a running aggregator."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from aggregator.ticklog.checkpoints import CheckpointFiles, check_checkpoint
from aggregator.ticklog.describing import describe_record, describe_time, record_to_dict
from aggregator.ticklog.errors import LogUnusable, NoCheckpoint
from aggregator.ticklog.health import describe
from aggregator.ticklog.opening import created_ns
from aggregator.ticklog.reading import find_end, read_segments
from aggregator.ticklog.readonly import open_readonly
from aggregator.ticklog.release import RELEASE
from aggregator.ticklog.segment import SegmentReader, Skipped, list_segments, offset_of
from marketdata.errors import MarketDataError
from marketdata.printing import print_line, silence

log_app = typer.Typer(no_args_is_help=True, help="Show, check and print the tick log.")

Directory = Annotated[
    str,
    typer.Argument(
        metavar="DIR",
        envvar="AGGREGATOR_LOG",
        help="The directory of the log.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")]


@log_app.command("ls")
def list_log(directory: Directory = "off", *, as_json: AsJson = False) -> None:
    """List the segments and the checkpoints.

    The end of a segment is the time of the first record of the next one.
    """
    path = _directory(directory)
    with _reporting():
        for row in (*_segment_rows(path), *_checkpoint_rows(path)):
            if as_json:
                _print_json(row)
            elif "records" in row:
                _print(
                    f"{row['file']}  {row['records']:>10,} records  {row['bytes']:>13,} bytes  "
                    f"{describe_time(row['from_ns'])} to {describe_time(row['to_ns'])}"
                )
            else:
                _print(
                    f"{row['file']}  state version {row['state_version']}  {row['bytes']:,} bytes"
                )


@log_app.command("verify")
def verify_log(directory: Directory = "off", *, as_json: AsJson = False) -> None:
    """Read every byte of the log and of its checkpoints; exit 1 if one of them is damaged."""
    path = _directory(directory)
    is_sound = True
    with _reporting():
        for row in (*_check_segments(path), *_check_checkpoints(path)):
            is_sound = is_sound and not row["damages"]
            if as_json:
                _print_json(row)
            else:
                _print(f"{row['file']}  {row['result']}")
                for damage in row["damages"]:
                    _print(f"  {damage}")
    if not is_sound:
        raise typer.Exit(1)


@log_app.command("cat")
def cat_log(
    directory: Directory = "off",
    *,
    first: Annotated[
        int | None, typer.Option("--from", metavar="OFFSET", min=0, help="The first record.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="How many records at most.")] = None,
    ticks: Annotated[bool, typer.Option("--ticks", help="Print each tick of a batch.")] = False,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave damaged records out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the records; exit 1 at a damaged one."""
    with _reporting():
        log = open_readonly(_directory(directory), on_skip=_say_skipped if skip_corrupt else None)
        records = log.read_from(log.first_offset if first is None else first)
        for count, record in enumerate(records):
            if count == limit:
                break
            if as_json:
                _print_json(record_to_dict(record, with_ticks=ticks))
            else:
                for line in describe_record(record, with_ticks=ticks):
                    _print(line)


def _segment_rows(directory: Path) -> Iterator[dict[str, Any]]:
    paths = _segments(directory)
    for index, path in enumerate(paths):
        first = offset_of(path)
        with SegmentReader(path) as reader:
            begin = reader.header.created_ns if reader.header is not None else 0
            if index + 1 < len(paths):
                beyond, end = offset_of(paths[index + 1]), created_ns(paths[index + 1])
            else:
                last = reader.skip_to(2**63)
                beyond, end = reader.expected, begin if last is None else last
            yield {
                "file": path.name,
                "first_offset": first,
                "last_offset": beyond - 1 if beyond > first else None,
                "records": beyond - first,
                "bytes": reader.size(),
                "from_ns": begin,
                "to_ns": end,
            }


def _checkpoint_rows(directory: Path) -> Iterator[dict[str, Any]]:
    files = CheckpointFiles(directory, RELEASE)
    for checkpoint in files.whole():
        path = files.path(checkpoint.offset)
        yield {
            "file": path.name,
            "offset": checkpoint.offset,
            "state_version": checkpoint.version,
            "bytes": path.stat().st_size,
        }


def _check_segments(directory: Path) -> Iterator[dict[str, Any]]:
    paths = _segments(directory)
    for index, path in enumerate(paths):
        skipped: list[Skipped] = []
        records = 0
        torn = 0
        if index + 1 < len(paths):
            until = offset_of(paths[index + 1])
            for _ in read_segments([path], offset_of(path), until, skipped.append):
                records += 1
        else:
            end = find_end(path, skipped.append)
            torn = end.torn
            records = end.next_offset - offset_of(path) - sum(part.records for part in skipped)
        result = f"{records:,} records" if not skipped else f"{records:,} records, DAMAGED"
        if torn:
            # A running aggregator may be writing it. After a crash the next start cuts it off.
            result += f", then {torn:,} bytes of an unfinished record"
        damages = [_describe_damage(part) for part in skipped]
        yield {"file": path.name, "result": result, "torn_bytes": torn, "damages": damages}


def _check_checkpoints(directory: Path) -> Iterator[dict[str, Any]]:
    for path in CheckpointFiles(directory, RELEASE).paths():
        try:
            check_checkpoint(path)
        except NoCheckpoint as exc:
            yield {"file": path.name, "result": "DAMAGED", "damages": [exc.reason]}
        else:
            yield {"file": path.name, "result": "whole", "damages": []}


def _describe_damage(part: Skipped) -> str:
    return (
        f"at byte {part.position}: {part.bytes:,} bytes are not valid, {part.records:,} records "
        f"from {part.offset} on are missing"
    )


def _segments(directory: Path) -> list[Path]:
    try:
        return list_segments(directory)
    except OSError as exc:
        raise LogUnusable(directory, describe(exc)) from exc


def _directory(given: str) -> Path:
    if given == "off":
        print_line("aggregator log: AGGREGATOR_LOG is off, so give the directory", "stderr")
        raise typer.Exit(2)
    return Path(given)


def _say_skipped(skipped: Skipped) -> None:
    print_line(
        f"aggregator log: {skipped.path} at byte {skipped.position}: {skipped.records:,} records "
        f"from {skipped.offset} on are left out",
        "stderr",
    )


def _print_json(row: dict[str, Any]) -> None:
    _print(orjson.dumps(row).decode())


def _print(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
    except OSError:
        # Its reader, such as head, has ended.
        silence(sys.stdout)
        raise typer.Exit(0) from None


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    """End with one line when the log cannot be read."""
    try:
        yield
    except (MarketDataError, OSError) as exc:
        reason = describe(exc) if isinstance(exc, OSError) else str(exc)
        print_line(f"aggregator log: {reason}", "stderr")
        raise typer.Exit(1) from None
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            silence(sys.stdout)
