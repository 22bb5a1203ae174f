"""The command line: an exchange with its markets, or a file, a topic, an address."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from connect.app import MakeSource, run
from connect.errors import SourceFailed
from connect.settings import ConnectSettings
from marketdata.errors import SettingsError
from marketdata.printing import print_line
from marketdata.settings import load_settings

_EXCHANGE = "exchange"
_NEEDS = "needs more packages: pip install 'market-data-server[connect]'"


class _Commands(typer.core.TyperGroup):
    # A first word that is no command names an exchange.
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = [_EXCHANGE, *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Server = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where ingest listens (localhost:50050).")
]
ProducerId = Annotated[
    str | None, typer.Option(metavar="NAME", help="Names this producer for ever (connect-SOURCE).")
]
SymbolPrefix = Annotated[str | None, typer.Option(help="Put before each symbol.")]
IdPrefix = Annotated[str | None, typer.Option(help="Put before the id of each trade.")]
Map = Annotated[
    str | None,
    typer.Option(
        "--map",
        metavar="FIELD=PATH,...",
        help="Where the fields symbol, price, size, time and id are, such as price=p,size=data.q.",
    ),
]
Symbol = Annotated[str | None, typer.Option(help="The symbol of trades that name none.")]
Each = Annotated[
    str | None, typer.Option(metavar="PATH", help="Where a message has its list of trades.")
]
Unit = Annotated[
    str | None, typer.Option(metavar="auto|s|ms|us|ns", help="The unit of times (auto).")
]


@app.callback()
def describe() -> None:
    """Send the trades of a live source to ingest, each one once.

    A word that is no command names an exchange: python -m connect coinbase BTC-USD ETH-USD

    Every option has a variable: --symbol-style is CONNECT_SYMBOL_STYLE. The option wins.
    """


@app.command(_EXCHANGE)
def exchange(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="As ccxt writes it: binance, coinbase, kraken, ...")],
    markets: Annotated[list[str], typer.Argument(help="BTC/USDT, BTC-USDT or BTCUSDT.")],
    *,
    symbol_style: Annotated[
        str | None,
        typer.Option(
            metavar="dash|exchange|unified",
            help="BTC-USDT, the exchange's own name, or BTC/USDT (dash).",
        ),
    ] = None,
    symbol_prefix: SymbolPrefix = None,
    trade_id_prefix: IdPrefix = None,
    url: Annotated[
        str | None, typer.Option(help="In place of the exchange's addresses: a proxy or a test.")
    ] = None,
    position: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Holds the last trades, so that a restart fills too."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="For old trades, where the exchange wants one.")
    ] = None,
    server: Server = None,
    producer_id: ProducerId = None,
) -> None:
    """Send the trades of an exchange's markets."""

    def make(settings: ConnectSettings, outlet: Any, states: Any) -> Any:
        try:
            # ccxt takes 0.8 s to import, and the other sources need none.
            from connect.exchanges.source import ExchangeSource  # noqa: PLC0415
        except ImportError as exc:
            raise SourceFailed(f"{name} {_NEEDS}") from exc
        return ExchangeSource(name, markets, settings, outlet, states)

    _run(ctx, name, make)


@app.command("csv-tail")
def csv_tail(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A growing file with a line per trade.")],
    *,
    map_: Map = None,
    symbol: Symbol = None,
    timestamp_unit: Unit = None,
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Without one, columns are 1, 2, 3, ..."),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between columns (,).")] = None,
    position: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Holds how far the file was sent (FILE.position)."),
    ] = None,
    symbol_prefix: SymbolPrefix = None,
    trade_id_prefix: IdPrefix = None,
    server: Server = None,
    producer_id: ProducerId = None,
) -> None:
    """Send the trades of a file, and those that are appended to it."""

    def make(settings: ConnectSettings, outlet: Any, states: Any) -> Any:
        try:
            from connect.csv_tail import TailSource  # noqa: PLC0415
        except ImportError as exc:
            raise SourceFailed(f"csv-tail {_NEEDS}") from exc
        return TailSource(file, settings, outlet, states)

    _run(ctx, "csv-tail", make)


@app.command()
def kafka(
    ctx: typer.Context,
    topics: Annotated[list[str], typer.Argument(help="Topics whose values are trades.")],
    *,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A broker (localhost:9092).")
    ] = None,
    group: Annotated[str | None, typer.Option(help="The consumer group (connect).")] = None,
    format: Annotated[  # noqa: A002  the option's name
        str | None,
        typer.Option(metavar="json|tick", help="What values are; tick is our message (json)."),
    ] = None,
    map_: Map = None,
    symbol: Symbol = None,
    each: Each = None,
    timestamp_unit: Unit = None,
    symbol_prefix: SymbolPrefix = None,
    trade_id_prefix: IdPrefix = None,
    server: Server = None,
    producer_id: ProducerId = None,
) -> None:
    """Send the values of Kafka topics."""

    def make(settings: ConnectSettings, outlet: Any, states: Any) -> Any:
        try:
            from connect.kafka import KafkaSource  # noqa: PLC0415
        except ImportError as exc:
            raise SourceFailed(f"kafka {_NEEDS}") from exc
        return KafkaSource(topics, settings, outlet, states)

    _run(ctx, "kafka", make)


@app.command()
def websocket(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(metavar="URL", help="ws:// or wss://")],
    *,
    map_: Map = None,
    symbol: Symbol = None,
    each: Each = None,
    subscribe: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Sent when connected.")
    ] = None,
    timestamp_unit: Unit = None,
    symbol_prefix: SymbolPrefix = None,
    trade_id_prefix: IdPrefix = None,
    server: Server = None,
    producer_id: ProducerId = None,
) -> None:
    """Send the trades in the JSON messages of a WebSocket."""

    def make(settings: ConnectSettings, outlet: Any, states: Any) -> Any:
        from connect.websocket import WebSocketSource  # noqa: PLC0415

        return WebSocketSource(address, settings, outlet, states)

    _run(ctx, "websocket", make)


def _run(ctx: typer.Context, name: str, make: MakeSource) -> NoReturn:
    given = {
        key.removesuffix("_"): value
        for key, value in ctx.params.items()
        if value is not None and key.removesuffix("_") in ConnectSettings.model_fields
    }
    raise typer.Exit(asyncio.run(run(_read_settings(given), name, make)))


def _read_settings(given: dict[str, object]) -> ConnectSettings:
    try:
        settings = load_settings(ConnectSettings)
    except SettingsError as exc:
        print_line(f"connect: {exc}", "stderr")
        raise typer.Exit(2) from exc
    try:
        return ConnectSettings.model_validate(settings.model_dump() | given)
    except ValidationError as exc:
        error = exc.errors()[0]
        option = f"--{str(error['loc'][0]).replace('_', '-')}"
        message = f"{error['input']!r}: {error['msg']}"
        raise typer.BadParameter(message, param_hint=option) from exc


if __name__ == "__main__":
    app(prog_name="python -m connect")
