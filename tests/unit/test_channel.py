"""The options of gRPC, and how it waits for messages."""

from __future__ import annotations

import os
import re
from pathlib import Path

import grpc
import pytest

from marketdata.channel import client_options, server_options, tune_grpc

NAME = "GRPC_EXPERIMENTS"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Begin without a choice, and leave none behind."""
    monkeypatch.setenv(NAME, "")
    monkeypatch.delenv(NAME)
    return monkeypatch


def test_grpc_reads_its_sockets_where_it_waits_for_them() -> None:
    tune_grpc()
    assert os.environ[NAME] == "-event_engine_client,-event_engine_listener"


def test_the_choice_of_an_operator_stands(environment: pytest.MonkeyPatch) -> None:
    environment.setenv(NAME, "event_engine_client")
    tune_grpc()
    assert os.environ[NAME] == "event_engine_client"


@pytest.mark.parametrize("version", ["1.86.0", "2.0.0"])
def test_a_version_that_was_not_measured_is_left_alone(
    environment: pytest.MonkeyPatch, version: str
) -> None:
    environment.setattr(grpc, "__version__", version)
    tune_grpc()
    assert NAME not in os.environ


def test_options_stand_in_one_table() -> None:
    root = Path(__file__).parents[2]
    services = ("marketdata", "ingest", "aggregator", "gateway", "fakeclient", "benchmarks")
    sources = [path for each in services for path in (root / each).rglob("*.py")]
    having = [path for path in sources if re.search(r"\"grpc\.(?!aio)[a-z_]", path.read_text())]
    assert [str(path.relative_to(root)) for path in having] == ["marketdata/channel.py"]


def test_both_ends_take_messages_of_the_same_size() -> None:
    for options in (client_options(), server_options()):
        found = dict(options)
        assert len(found) == len(options)
        assert found["grpc.max_receive_message_length"] == found["grpc.max_send_message_length"]
