"""Where compiled code is kept, and that every place that installs us compiles all of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from marketdata import kernels
from marketdata.kernels import KERNELS, BesideTheSource
from marketdata.warm import load_kernels

ROOT = Path(__file__).parents[2]
SOURCE = """
from marketdata.kernels import KERNELS

@KERNELS.add("int64(int64)")
def double(number):
    return number * 2
"""


def load_module(path: Path) -> Callable[[int], int]:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    double: Callable[[int], int] = module.double
    return double


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Others' kernels are not this test's.
    load_kernels()
    path = tmp_path / "doubling.py"
    path.write_text(SOURCE)
    monkeypatch.setitem(sys.modules, "doubling", sys)
    return path


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(_: BesideTheSource) -> None:
        raise PermissionError(30, "Read-only file system")

    return lambda: monkeypatch.setattr(BesideTheSource, "ensure_cache_path", refuse)


def events(source: Path) -> list[str]:
    double = load_module(source)
    with capture_logs() as logs:
        load_kernels()
    assert double(21) == 42
    return [line["event"].partition(",")[0] for line in logs]


def test_what_was_compiled_is_found_again_even_where_nothing_can_be_written(
    source: Path, read_only: Callable[[], None]
) -> None:
    assert events(source) == ["compiling", "compiled"]
    assert events(source) == []
    read_only()
    assert events(source) == []


def test_a_changed_source_is_compiled_anew(source: Path) -> None:
    events(source)
    source.write_text(SOURCE + "# changed\n")
    assert events(source) == ["compiling", "compiled"]


def test_a_change_of_what_is_inlined_compiles_anew(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events(source)
    monkeypatch.setattr(kernels, "_INLINED", (source,))
    assert events(source) == ["compiling", "compiled"]


def test_a_change_of_a_number_from_another_module_compiles_anew(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = tmp_path / "factors.py"
    monkeypatch.syspath_prepend(tmp_path)
    source.write_text(
        SOURCE.replace("@", "from factors import FACTOR\n\n@", 1).replace("* 2", "* FACTOR")
    )
    factors.write_text("FACTOR = 2\n")
    assert events(source) == ["compiling", "compiled"]
    assert events(source) == []
    monkeypatch.delitem(sys.modules, "factors")
    factors.write_text("FACTOR = 1 + 1.0\n")
    assert events(source) == ["compiling", "compiled"]
    monkeypatch.delitem(sys.modules, "factors")


def test_what_cannot_be_kept_is_said_and_works(
    source: Path, read_only: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    events(source)
    # The cache is there, and for another source.
    source.write_text(SOURCE + "# changed\n")
    read_only()
    assert events(source) == ["compiling", "compiled code cannot be kept", "compiled"]


def test_other_types_are_an_error_instead_of_seconds_of_compiling(source: Path) -> None:
    double = load_module(source)
    load_kernels()
    with pytest.raises(TypeError):
        double("x")  # type: ignore[arg-type]


def test_make_and_the_image_compile_every_kernel() -> None:
    load_kernels()
    assert not KERNELS.waiting
    having = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("marketdata", "ingest", "aggregator", "gateway", "fakeclient")
        for path in (ROOT / package).rglob("*.py")
        if "@KERNELS.add(" in path.read_text()
    }
    assert "ingest.kernel" in having
    (in_make,) = re.findall(r"(?m)^KERNELS := (.*)$", (ROOT / "Makefile").read_text())
    (in_image,) = re.findall(
        r"python -m marketdata.warm ([\w. ]+)", (ROOT / "Dockerfile").read_text()
    )
    assert set(in_make.split()) == set(in_image.split()) == having
