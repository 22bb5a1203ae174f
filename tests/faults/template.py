"""A process that has loaded a service and forks one for each message: ``-m ... NAME SOCKET``.

Loading takes seconds, and schedules start many services. A fork is a process of its own that runs
``python -m NAME`` from there on. Messages are JSON; see :mod:`tests.faults.forks`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
from importlib import import_module

from marketdata.warm import load_kernels

_MAX_MESSAGE = 65_536
_PR_SET_PDEATHSIG = 1


def main(name: str, number: int) -> None:
    """Serve until the socket is closed; return in a fork when it shall run."""
    import_module(f"{name}.__main__")
    load_kernels()
    gc.freeze()
    with socket.socket(fileno=number) as connection:
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)
        while True:
            ready, _, _ = select.select([connection.fileno(), woken], [], [])
            if woken in ready:
                os.read(woken, 64)
                _tell_ended(connection)
            if connection.fileno() in ready and not _fork(connection):
                break
        # A fork goes on here.
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(woken)
        os.close(wake)


# Returns False in a fork; ends the process when the socket is closed.
def _fork(connection: socket.socket) -> bool:
    data, files, _, _ = socket.recv_fds(connection, _MAX_MESSAGE, 1)
    if not data:
        sys.exit()
    pid = os.fork()
    if pid:
        os.close(files[0])
        connection.send(json.dumps({"pid": pid}).encode())
        return True
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(json.loads(data))
    os.dup2(files[0], 2)
    os.close(files[0])
    return False


def _tell_ended(connection: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        code = os.waitstatus_to_exitcode(status)
        connection.send(json.dumps({"pid": pid, "code": code}).encode())


if __name__ == "__main__":
    service = sys.argv[1]
    main(service, int(sys.argv[2]))
    sys.argv = [service]
    runpy.run_module(service, run_name="__main__", alter_sys=True)
