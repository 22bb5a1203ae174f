"""Run the gateway: ``python -m gateway``."""

from __future__ import annotations

from gateway.app import main
from gateway.settings import GatewaySettings
from marketdata.runtime import run_service

if __name__ == "__main__":
    run_service("gateway", GatewaySettings, main)
