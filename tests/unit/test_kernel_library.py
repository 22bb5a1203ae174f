"""The library of compiled kernels: loaded only while it is current, and without numba."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aggregator.wire import decode
from marketdata.kernels import library
from marketdata.kernels.build import CannotLink, build_library
from marketdata.kernels.library import ROOT, load_library, manifest_name
from marketdata.warm import load_kernels

# Of a service only what it needs is loaded.
HEAVY = ("numba", "llvmlite", "pandas", "aiortc", "av", "exchange_calendars")
PROGRAM = """
import sys
import {module}
from marketdata import kernels
print(kernels.LIBRARY is not None, sorted({heavy}.intersection(sys.modules)))
"""


def run(program: str, **env: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for a library that only this test sees."""
    monkeypatch.setattr(library, "folders", lambda: iter([tmp_path]))
    return tmp_path


@pytest.fixture
def built(folder: Path) -> Path:
    """A library of one small kernel, as `make setup` builds one of all."""
    load_kernels()
    return build_library([(decode.slot_of, decode._INT(decode._INT, decode._INTS))], [folder])


@pytest.mark.parametrize("module", ["ingest.app", "aggregator.app", "gateway.app"])
def test_a_service_loads_the_library_and_nothing_that_it_does_not_need(module: str) -> None:
    # The library is there: `make test` sets up first.
    assert run(PROGRAM.format(module=module, heavy=set(HEAVY))) == "True []"


def test_numba_compiles_where_it_is_asked_for() -> None:
    program = "from marketdata import kernels; print(kernels.LIBRARY, kernels.KERNELS)"
    assert run(program, MARKETDATA_KERNELS="numba").startswith("None <marketdata.kernels.jit.")


def test_the_library_of_other_sources_is_not_loaded(built: Path, folder: Path) -> None:
    manifest = folder / manifest_name()
    content = json.loads(manifest.read_text())
    content["sources"]["aggregator/wire/decode.py"] = "0" * 64
    manifest.write_text(json.dumps(content))
    assert load_library() is None


def test_a_library_that_is_not_whole_is_not_loaded(built: Path, folder: Path) -> None:
    built.write_bytes(built.read_bytes()[:1000])
    assert load_library() is None


def test_a_library_names_all_sources_of_its_kernels(built: Path, folder: Path) -> None:
    sources = json.loads((folder / manifest_name()).read_text())["sources"]
    assert {"aggregator/wire/decode.py", "marketdata/words.py"} <= set(sources)


def test_without_a_compiler_there_is_no_library(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketdata.kernels.build._COMPILERS", ("no-such-compiler",))
    with pytest.raises(CannotLink, match="no C compiler"):
        build_library([], [folder])


def test_a_kernel_of_the_library_gives_what_numba_gives(built: Path) -> None:
    program = f"""
import numpy as np
from marketdata.kernels.library import _load
from pathlib import Path
slot_of = _load(Path({str(built)!r}))["aggregator.wire.decode.slot_of"]
words = np.arange(1, 9, dtype=np.int64) * 0x0102030405060708
print([slot_of(length, words) for length in range(65)])
"""
    words = np.arange(1, 9, dtype=np.int64) * 0x0102030405060708
    expected = [decode.slot_of(length, words) for length in range(65)]
    assert run(program) == str(expected)


def test_a_kernel_refuses_what_is_no_array(built: Path) -> None:
    program = f"""
from marketdata.kernels.library import _load
from pathlib import Path
slot_of = _load(Path({str(built)!r}))["aggregator.wire.decode.slot_of"]
try:
    slot_of(1, [1, 2])
except TypeError as exc:
    print("TypeError")
"""
    assert run(program) == "TypeError"
