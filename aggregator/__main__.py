"""``python -m aggregator``, and its commands ``import FILE...`` and ``log ls|verify|cat``."""

from __future__ import annotations

import typer

from aggregator.app import main
from aggregator.importing.command import import_files
from aggregator.settings import AggregatorSettings
from aggregator.ticklog.command import log_app
from marketdata.runtime import run_service

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("import")(import_files)
app.add_typer(log_app, name="log")


@app.callback(invoke_without_command=True)
def serve(ctx: typer.Context) -> None:
    """Run the aggregator, import files into its store, or look into its tick log.

    Its settings are the AGGREGATOR_* variables; docs/settings.md lists them.
    """
    if ctx.invoked_subcommand is None:
        run_service("aggregator", AggregatorSettings, main)


if __name__ == "__main__":
    app(prog_name="python -m aggregator")
