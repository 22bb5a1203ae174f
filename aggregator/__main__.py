"""``python -m aggregator``, and ``python -m aggregator import FILE...``."""

from aggregator.importing.command import app

if __name__ == "__main__":
    app(prog_name="python -m aggregator")
