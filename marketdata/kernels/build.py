"""Link what numba compiled into one library that Python loads without numba."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marketdata.kernels.jit import sources_of
from marketdata.kernels.library import MODULE, ROOT, hash_of, library_name, manifest_name

GLUE = Path(__file__).with_name("glue.c")
# The compiler of this Python, or any other.
_COMPILERS = (sysconfig.get_config_var("CC") or "", "cc", "gcc", "clang")


class _Kernel(NamedTuple):
    name: str
    # Its functions for Python, and where it would find Python's objects.
    wrapper: str
    environment: str
    machine_code: bytes


class CannotLink(Exception):
    """There is no C compiler, or it fails."""


def find_compiler() -> list[str]:
    """Return the command of a C compiler.

    Raises:
        CannotLink: there is none, or no headers of Python.
    """
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise CannotLink("the headers of Python are missing")
    for each in _COMPILERS:
        command = shlex.split(each)
        if command and shutil.which(command[0]):
            return command
    raise CannotLink("there is no C compiler")


def build_library(compiled: Iterable[tuple[Any, Any]], folders: Iterable[Path]) -> Path:
    """Link kernels that numba has compiled and kept; return the library.

    Args:
        compiled: numba's dispatchers, and the signatures that they were compiled for.
        folders: where it may be; the first that can be written to is taken.

    Raises:
        CannotLink: there is no C compiler, it fails, or nothing can be written.
    """
    compiler = find_compiler()
    pairs = list(compiled)
    kernels = [_read_kernel(*pair) for pair in pairs]
    modules = {name for each, _ in pairs for name in sources_of(each.py_func.__module__)}
    sources = {_path_of(name) for name in modules}
    problem = "there is no folder"
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _link(compiler, kernels, sorted(sources), folder)
        except OSError as exc:
            problem = str(exc)
    raise CannotLink(problem)


def _path_of(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}.py" if (ROOT / f"{path}.py").exists() else f"{path}/__init__.py"


def _read_kernel(dispatcher: Any, signature: Any) -> _Kernel:
    # numba keeps the machine code of a kernel in its cache.
    cache = dispatcher._cache
    kept = cache._cache_file.load(cache._index_key(signature, dispatcher.targetctx.codegen()))
    if kept is None:
        raise CannotLink(f"numba did not keep {dispatcher.py_func.__qualname__}")
    (_, kind, (machine_code, _)), description, *_ = kept
    if kind != "object":
        raise CannotLink(f"numba kept no machine code of {dispatcher.py_func.__qualname__}")
    function = dispatcher.py_func
    return _Kernel(
        f"{function.__module__}.{function.__qualname__}",
        description.llvm_cpython_wrapper_name,
        description.env_name,
        machine_code,
    )


def _link(
    compiler: Sequence[str], kernels: Sequence[_Kernel], sources: Sequence[str], folder: Path
) -> Path:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        table = " ".join(
            f'KERNEL("{each.name}", {each.wrapper}, {each.environment})' for each in kernels
        )
        glue = Path(work, "glue.c")
        glue.write_text(GLUE.read_text().replace("TABLE", table))
        objects = []
        for number, each in enumerate(kernels):
            file = Path(work, f"kernel{number}.o")
            file.write_bytes(each.machine_code)
            objects.append(str(file))
        made = Path(work, f"{MODULE}{suffix}")
        command = [
            *(*compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(glue), *objects),
            *(f"-I{sysconfig.get_path('include')}", f"-I{np.get_include()}"),
            # numba's code has absolute addresses, which the loader fills in.
            *("-Wl,-z,notext", "-Wl,-Bsymbolic", "-Wl,--no-warn-execstack"),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            raise CannotLink(done.stderr.strip().splitlines()[-1] if done.stderr else "cc failed")
        hashes = {path: hash_of(ROOT / path) for path in sources}
        # Named by its sources: a process that runs has another one open.
        library = folder / library_name(_digest(hashes))
        content = {"library": library.name, "hash": hash_of(made), "sources": hashes}
        made.replace(library)
        manifest = Path(work, "manifest.json")
        manifest.write_text(json.dumps(content))
        manifest.replace(folder / manifest_name())
    for old in folder.glob(library_name("*")):
        if old != library:
            old.unlink(missing_ok=True)
    return library


def _digest(hashes: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]
