"""The command line: ``python -m marketdata.client watch AAPL MSFT``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from marketdata.client.asynchronous import AsyncClient
from marketdata.client.board import Board
from marketdata.client.errors import ClientError
from marketdata.client.options import DEFAULT_URL
from marketdata.printing import print_line, silence

# Between two changes of the screen; faster, nobody can read it.
REDRAW_S = 0.1
# The lines of the table that are no rows.
FRAME_LINES = 7

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Symbols = Annotated[list[str], typer.Argument(help="Such as AAPL MSFT; '*' is every symbol.")]
Url = Annotated[str, typer.Option(help="The address of the gateway.")]


@app.callback()
def main() -> None:
    """Read market data from a gateway."""


@app.command()
def watch(symbols: Symbols, url: Url = DEFAULT_URL) -> None:
    """Show the states of symbols, as they change; end with Ctrl-C."""
    try:
        asyncio.run(follow(symbols, url))
    except KeyboardInterrupt:
        raise typer.Exit from None
    except ClientError as exc:
        print_line(f"watch: {exc}", "stderr")
        raise typer.Exit(1) from None


async def follow(symbols: Sequence[str], url: str, console: Console | None = None) -> None:
    """Show the states of symbols on a terminal, or print each as a line.

    Raises:
        ClientError: the gateway cannot be followed.
    """
    console = console or Console()
    board = Board(url, symbols)
    async with AsyncClient(url) as client, client.stream(symbols) as stream:
        if not console.is_terminal:
            async for event in stream.events():
                if (line := board.line(event)) is not None and not _say(line):
                    return
            return
        changed = asyncio.Event()
        with Live(console=console, auto_refresh=False, screen=True) as screen:
            redrawing = asyncio.create_task(_redraw(screen, board, changed))
            try:
                async for event in stream.events():
                    board.take(event)
                    changed.set()
            finally:
                redrawing.cancel()


def _say(line: str) -> bool:
    # Returns whether somebody reads it: head ends early.
    try:
        print(line, flush=True)  # noqa: T201
    except OSError:
        silence(sys.stdout)
        return False
    return True


async def _redraw(screen: Live, board: Board, changed: asyncio.Event) -> None:
    while True:
        rows = max(1, screen.console.height - FRAME_LINES)
        screen.update(board.table(rows), refresh=True)
        await asyncio.sleep(REDRAW_S)
        await changed.wait()
        changed.clear()


if __name__ == "__main__":
    app(prog_name="python -m marketdata.client")
