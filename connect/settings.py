"""The settings of connect, by option or by environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator
from pydantic_settings import SettingsConfigDict

from marketdata.addresses import split_address
from marketdata.producer.options import check_producer_id
from marketdata.settings import ServiceSettings
from marketdata.timestamps import TimestampUnit


def _check_address(value: str) -> str:
    split_address(value)
    return value


def _check_id(value: str) -> str:
    if value:
        check_producer_id(value)
    return value


class ConnectSettings(ServiceSettings):
    """Every option of the command line has its variable; the option wins."""

    model_config = SettingsConfigDict(env_prefix="CONNECT_")

    server: Annotated[str, AfterValidator(_check_address)] = "localhost:50050"
    # Empty: connect-SOURCE.
    producer_id: Annotated[str, AfterValidator(_check_id)] = ""
    symbol_prefix: str = ""
    trade_id_prefix: str = ""

    # Exchanges.
    symbol_style: Literal["dash", "exchange", "unified"] = "dash"
    url: str = ""
    api_key: str = ""

    # Sources whose fields have names of their own.
    map: str = ""
    symbol: str = ""
    each: str = ""
    timestamp_unit: TimestampUnit = "auto"
    subscribe: str = ""

    # Where exchanges and files keep how far they were sent. Exchanges: empty, nowhere; files:
    # empty, beside the file.
    position: str = ""

    # Files.
    header: bool = True
    delimiter: str = ","

    # Kafka.
    kafka: str = "localhost:9092"
    group: str = "connect"
    format: Literal["json", "tick"] = "json"
