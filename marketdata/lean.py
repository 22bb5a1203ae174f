"""Load structlog without rich, which it would load for tracebacks that no service shows.

Packages of services import this first. It saves each process 45 ms of CPU at its start and 4 MB.
"""

from __future__ import annotations

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    # An import of it fails as if it were not installed.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
