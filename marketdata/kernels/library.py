"""Find and load the library of compiled kernels, in which no numba is needed.

A file beside the library lists the sources that went into it, with the hash of each. The library is
loaded only while all of them are the same, so code of another source never runs.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MODULE = "compiled_kernels"
# All our packages are in it, in a checkout and where they are installed.
ROOT = Path(__file__).resolve().parents[2]
_SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]

Kernel = Callable[..., Any]


def folders() -> Iterator[Path]:
    """Return where a library may be: beside the sources, or in the user's cache."""
    yield ROOT / "marketdata" / "kernels" / "__pycache__"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    # Each checkout has its own.
    place = hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]
    yield Path(base) / "market-data-server" / f"library-{place}"


def library_name(digest: str) -> str:
    """Return the name of a library for this Python and this numpy; ``*`` stands for any."""
    return f"{MODULE}-numpy{np.__version__}-{digest}{_SUFFIX}"


def manifest_name() -> str:
    """Return the name of the file that lists the sources of the newest library."""
    return f"{library_name('newest')}.json"


def hash_of(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_library() -> Mapping[str, Kernel] | None:
    """Return the compiled kernels by name, or None: there is no library of the present sources.

    With ``MARKETDATA_KERNELS=numba`` in the environment numba compiles: tests make own kernels.
    """
    if os.environ.get("MARKETDATA_KERNELS") == "numba":
        return None
    for folder in folders():
        try:
            manifest = json.loads((folder / manifest_name()).read_text())
            path = folder / manifest["library"]
            # The loader of the system crashes with a file that was cut.
            is_whole = hash_of(path) == manifest["hash"]
            if is_whole and all(
                hash_of(ROOT / source) == found for source, found in manifest["sources"].items()
            ):
                return _load(path)
        except (OSError, ValueError, KeyError, ImportError):
            # There is none, or it is not whole.
            continue
    return None


def _load(path: Path) -> Mapping[str, Kernel]:
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)
