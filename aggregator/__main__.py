"""``python -m aggregator``, and its commands ``import``, ``replay``, ``rebuild`` and ``log``."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from aggregator.app import main
from aggregator.importing.command import import_files
from aggregator.runs.replaying import rebuild_app, replay
from aggregator.runs.saving import make_checkpoint
from aggregator.settings import AggregatorSettings
from aggregator.ticklog.command import log_app
from marketdata.runtime import run_service

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("import")(import_files)
app.command("checkpoint", hidden=True)(make_checkpoint)
app.command("replay")(replay)
app.add_typer(rebuild_app, name="rebuild")
app.add_typer(log_app, name="log")


@app.callback(invoke_without_command=True)
def serve(
    ctx: typer.Context,
    skip_corrupt: Annotated[
        bool, typer.Option(help="Leave damaged records of the tick log out.")
    ] = False,
) -> None:
    """Run the aggregator, import files into its store, or look into its tick log.

    Its settings are the AGGREGATOR_* variables; docs/settings.md lists them.
    """
    if ctx.invoked_subcommand is None:
        run_service("aggregator", AggregatorSettings, partial(main, skip_corrupt=skip_corrupt))


if __name__ == "__main__":
    app(prog_name="python -m aggregator")
