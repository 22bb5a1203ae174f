"""Where compiled code is kept, and that every place that installs us compiles all of it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from marketdata import words
from marketdata.kernels import KERNELS
from marketdata.kernels.jit import BesideTheSource, InTheUsersCache
from marketdata.warm import compile_ahead, find_kernels, load_kernels

ROOT = Path(__file__).parents[2]
# A package whose kernel is made of three files.
PACKAGE = {
    "__init__": "",
    "factors": "FACTOR = 2\n",
    "parts": """
from marketdata.kernels import kernel_part

from doubling.factors import FACTOR

@kernel_part
def times(number):
    return number * FACTOR
""",
    "kernel": """
from marketdata.kernels import KERNELS

from doubling import parts
from doubling.parts import times

@KERNELS.add("int64(int64)")
def double(number):
    return times(number)
""",
}


def forget() -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "doubling"]:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Others' kernels are not this test's.
    load_kernels()
    folder = tmp_path / "doubling"
    folder.mkdir()
    for name, text in PACKAGE.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    # Python must not take compiled modules of the same second for current.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    forget()


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(_: object) -> None:
        raise PermissionError(30, "Read-only file system")

    def set_up() -> None:
        for locator in (BesideTheSource, InTheUsersCache):
            monkeypatch.setattr(locator, "ensure_cache_path", refuse)

    return set_up


def double(number: int) -> tuple[int, list[str]]:
    """Return what the kernel of a new start gives, and the events that it logged."""
    forget()
    importlib.invalidate_caches()
    kernel = importlib.import_module("doubling.kernel")
    with capture_logs() as logs:
        load_kernels()
    return kernel.double(number), [line["event"] for line in logs]


COMPILED = ["compiling_kernel", "kernel_compiled"]


def test_what_was_compiled_is_found_again_even_where_nothing_can_be_written(
    package: Path, read_only: Callable[[], None]
) -> None:
    assert double(21) == (42, COMPILED)
    assert double(21) == (42, [])
    read_only()
    assert double(21) == (42, [])


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [
        ("kernel", "times(number)\n", "times(number) + 42\n"),
        ("parts", "* FACTOR", "* FACTOR * 2"),
        ("factors", "2", "4"),
        ("factors", "2", "4.0 // 1"),
    ],
)
def test_a_change_in_any_file_of_a_kernel_compiles_anew(
    package: Path, module: str, before: str, after: str
) -> None:
    assert double(21) == (42, COMPILED)
    path = package / f"{module}.py"
    path.write_text(path.read_text().replace(before, after, 1))
    assert double(21) == (84, COMPILED)
    assert double(21) == (84, [])
    # What is not current is not kept.
    assert len(list(package.glob("__pycache__/*.nbi"))) == 1


def test_a_change_of_what_all_kernels_share_compiles_anew(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = package.parent / "words.py"
    path = package / "kernel.py"
    path.write_text(f"from marketdata.words import load_word\n{path.read_text()}")
    shared.write_text("# one\n")
    monkeypatch.setattr(words, "__file__", str(shared))
    assert double(21) == (42, COMPILED)
    shared.write_text("# two\n")
    assert double(21) == (42, COMPILED)


def test_what_cannot_be_kept_is_said_and_works(
    package: Path, read_only: Callable[[], None]
) -> None:
    read_only()
    for _ in range(2):
        assert double(21) == (42, ["compiling_kernel", "compiled_code_not_kept", "kernel_compiled"])


def test_compiling_ahead_warns_of_nothing_and_spares_the_next_start(
    package: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    forget()
    compile_ahead(find_kernels(["doubling"]))
    assert "kernel_compiled" in (said := capfd.readouterr().out)
    assert "warning" not in said
    KERNELS.waiting.clear()
    assert double(21) == (42, [])


def test_other_types_are_an_error_instead_of_seconds_of_compiling(package: Path) -> None:
    double(21)
    with pytest.raises(TypeError):
        sys.modules["doubling.kernel"].double("x")


def test_make_and_the_image_compile_every_kernel() -> None:
    having = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("marketdata", "ingest", "aggregator", "gateway", "standalone", "fakeclient")
        for path in (ROOT / package).rglob("*.py")
        if "\n@KERNELS.add(" in path.read_text()
    }
    assert "ingest.kernel" in having
    makefile = (ROOT / "Makefile").read_text()
    variables = dict(re.findall(r"(?m)^(\w+) := (.*)$", makefile))
    (in_make,) = set(re.findall(r"-m (?:marketdata.warm|scripts.kernels) (.*)", makefile))
    in_make = re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], in_make)
    (in_image,) = re.findall(
        r"python -m marketdata.warm ([\w. ]+)", (ROOT / "Dockerfile").read_text()
    )
    for named in (in_make, in_image):
        assert set(find_kernels(named.split())) == having
