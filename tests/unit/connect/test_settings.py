"""The page about live sources lists every setting."""

from __future__ import annotations

import re
from pathlib import Path

from connect.settings import ConnectSettings

PAGE = Path(__file__).parents[3] / "docs" / "live-sources.md"


def test_the_page_lists_every_setting_with_its_default() -> None:
    row = r"^\| `(CONNECT_\w+)` \| (?:`(\S+)`|\(empty\)) \|"
    documented = dict(re.findall(row, PAGE.read_text(), re.MULTILINE))
    assert documented == {
        f"CONNECT_{name.upper()}": str(field.default)
        for name, field in ConnectSettings.model_fields.items()
    }
