"""``python -m ingest``."""

from __future__ import annotations

from ingest.app import main
from ingest.settings import IngestSettings
from marketdata.runtime import run_service

if __name__ == "__main__":
    run_service("ingest", IngestSettings, main)
