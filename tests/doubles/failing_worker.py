"""A worker that cannot start: it ends with code 3 before it serves."""

import sys

sys.exit(3)
