"""Settings with unknown sessions."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest

from aggregator.sessions.calendars import CalendarsNotInstalled, UnknownSession, load_rules
from marketdata.errors import SettingsError


@pytest.mark.parametrize(
    ("session", "message"),
    [
        ("XNYZ", "AGGREGATOR_SESSION: 'XNYZ' is none of .* nearest calendars are .*XNYS"),
        ("xnys", "nearest calendars are XNYS"),
        ("XNYS:extended", "'XNYS:extended' is none of utc-day, none, day:<time zone>"),
        ("XNYS:", "is none of"),
        ("", "is none of"),
        ("UTC-DAY", "is none of"),
        ("day:America/New_Yrok", "no time zone; the nearest are America/New_York"),
        ("day:", "'' is no time zone"),
        ("day:../etc/passwd", "is no time zone"),
        ("day:America/New_York@24:00", "'24:00' is no time such as 17:00"),
        ("day:America/New_York@", "'' is no time such as 17:00"),
        ("day:@17:00", "'' is no time zone"),
    ],
)
def test_a_session_that_does_not_exist_is_refused_with_the_nearest(
    session: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_rules(session, "", anchored=False)


@pytest.mark.parametrize(
    ("calendars", "message"),
    [
        ("IBM", "AGGREGATOR_CALENDARS: 'IBM' is not PATTERN=RULE"),
        ("=XNYS", "is not PATTERN=RULE"),
        ("IBM=", "AGGREGATOR_CALENDARS: '' is none of"),
        ("A=none,B=XNYZ", "AGGREGATOR_CALENDARS: 'XNYZ' is none of"),
    ],
)
def test_a_pattern_without_a_session_is_refused(calendars: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_rules("utc-day", calendars, anchored=False)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name == "exchange_calendars":
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(CalendarsNotInstalled, match=r"market-data-server\[calendars\]"):
        load_rules("XNYS", "", anchored=False)
    # Other sessions work without the library.
    load_rules("day:Europe/London", "A=none,B=utc-day", anchored=True)


def test_a_calendar_that_the_library_cannot_compute_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Library:
        def get_calendar_names(self, include_aliases: bool) -> list[str]:
            return ["XNYS"]

        def resolve_alias(self, name: str) -> str:
            return name

        def get_calendar(self, name: str) -> Any:
            raise NotImplementedError("x" * 1000)

    monkeypatch.setattr(importlib, "import_module", lambda _: Library())
    with pytest.raises(SettingsError, match="cannot compute XNYS: xxx") as caught:
        load_rules("XNYS", "", anchored=False)
    assert not isinstance(caught.value, UnknownSession)
    assert len(str(caught.value)) < 400


def test_who_names_no_calendar_does_not_load_the_library() -> None:
    code = (
        "import sys; from aggregator.sessions.calendars import load_rules; "
        "load_rules('day:Europe/London', 'A=none', anchored=True); "
        "assert not {'pandas', 'exchange_calendars'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
