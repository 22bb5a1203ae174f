"""How gRPC is made to wait for messages."""

from __future__ import annotations

import os

import grpc
import pytest

from marketdata.channel import tune_grpc

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
