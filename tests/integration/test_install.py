"""``make setup`` without a network says so in a few lines."""

from __future__ import annotations

import asyncio
import os
import sys

from scripts.install import explain
from tests.doubles.ports import free_port
from tests.doubles.trades import ROOT


async def test_without_a_network_it_ends_in_a_short_message() -> None:
    index = f"http://127.0.0.1:{free_port()}/"
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index, "PIP_RETRIES": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.install", "."),
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    lines = output.decode().splitlines()
    assert process.returncode == 1
    assert len(lines) == 3
    assert lines[0].startswith("setup: pip cannot reach the package index")


def test_another_failure_is_told_in_pips_own_words() -> None:
    said = "note: x\nERROR: No matching distribution found for grpcio<2,>=1.85\nmore"
    assert explain(said) == "ERROR: No matching distribution found for grpcio<2,>=1.85"
    assert explain("") == "pip failed"
