"""What holds for every test."""

from __future__ import annotations

import os

# Tests have kernels of their own, which only numba can compile. The services that they start as
# processes use the library.
os.environ["MARKETDATA_KERNELS"] = "numba"
import marketdata.kernels  # noqa: F401

del os.environ["MARKETDATA_KERNELS"]

import pytest
from hypothesis import settings

# A busy machine must not fail a test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI in which a test was skipped: there, every tool is present."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a run without failures is red."""
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("in CI a skipped test is a failure", red=True)
