"""``python -m aggregator checkpoint``: make the checkpoint that a running aggregator asks for."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Annotated

import typer

from aggregator.checkpoint.format import VERSION
from aggregator.checkpoint.state import dump
from aggregator.core import Core
from aggregator.machine.checkpointer import MADE, SAVE, SAVED
from aggregator.machine.recovery import find_history, recover
from aggregator.settings import AggregatorSettings
from aggregator.ticklog.log import Checkpoint
from aggregator.ticklog.readonly import open_readonly
from marketdata.errors import StartError
from marketdata.printing import print_line
from marketdata.settings import load_settings

# The service and its producers come first.
NICENESS = 19


def make_checkpoint(
    offset: Annotated[int, typer.Argument(help="The state before this record is saved.")],
) -> None:
    """Make a checkpoint of the tick log, for the aggregator that runs this command.

    It waits for a line from that aggregator before it saves.
    """
    os.nice(NICENESS)
    try:
        asyncio.run(_make(load_settings(AggregatorSettings), offset))
    except StartError as exc:
        sys.stderr.write(f"{exc}\n")
        raise typer.Exit(1) from exc


async def _make(settings: AggregatorSettings, offset: int) -> None:
    directory = settings.log_directory
    if directory is None:
        raise StartError("AGGREGATOR_LOG is off, so there is no log to read")
    tick_log = open_readonly(directory)
    # Its store would write, so it has none.
    core = Core(settings.model_copy(update={"store": "off"}), time.time_ns, lambda _works: None)
    found = find_history(tick_log, core.fingerprint)
    if found is None:
        raise StartError("the log has no history with these settings")
    await recover(tick_log, found, core.machine, core.state, until=offset)
    if core.machine.position + 1 != offset:
        raise StartError(f"the log ends before record {core.machine.position + 1}")
    print_line(MADE)
    line = await asyncio.to_thread(sys.stdin.readline)
    # The end of the input: the aggregator is gone, and has other checkpoints.
    if line.strip() == SAVE:
        tick_log.save_checkpoint(Checkpoint(offset, VERSION), list(dump(core.state)))
        print_line(SAVED)
