"""``python -m standalone``."""

from __future__ import annotations

from marketdata.runtime import run_program
from standalone.app import main
from standalone.log_names import LogNames
from standalone.settings import load_all

if __name__ == "__main__":
    names = LogNames()
    run_program("standalone", lambda: names.configure(load_all()), main, [names])
