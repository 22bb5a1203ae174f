"""``python -m aggregator``."""

from aggregator.app import main
from aggregator.settings import AggregatorSettings
from marketdata.runtime import run_service

if __name__ == "__main__":
    run_service("aggregator", AggregatorSettings, main)
