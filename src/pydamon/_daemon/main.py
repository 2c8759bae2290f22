"""The start: take the plan and the socket, give up rights, serve."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from typing import Any

from . import sandbox
from .limits import Limits, Usage
from .machine import Kernel
from .server import log, serve
from .session import Session

_FIRST_SOCKET = 3
"""The first descriptor that systemd passes."""


def main() -> None:
    """Run; the only argument is the descriptor of the plan, which holds the settings, too."""
    with open(int(sys.argv[1]), "rb") as file:  # noqa: PTH123
        given: dict[str, Any] = json.load(file)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    path = given["socket"]
    doing = f"listen at {path}"
    try:
        listener = _listener(path)
        doing = "start the daemon"
        sandbox.enter()
        kernel = Kernel(given["plan"])
        sandbox.refuse_system_calls()
        Session(kernel, 1, 1).close()  # now is the time to find out that it does not work
    except OSError as error:
        sys.stderr.write(f"pydamon: cannot {doing}: {error.strerror or error}\n")
        sys.exit(1)
    limits = Limits(**given["limits"])
    log("ready", socket=path, user_cpu=limits.user_cpu, cpu=limits.cpu)
    serve(listener, kernel, Usage(limits))


def _listener(path: str) -> socket.socket:
    """The socket that systemd passed, or one at *path*."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        return socket.socket(fileno=_FIRST_SOCKET)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
            other.connect(path)
        raise OSError(0, "another daemon listens there")
    except (ConnectionRefusedError, FileNotFoundError):
        # Nobody listens there any more. What is no socket stays: to bind fails then.
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH110, PTH116
            os.unlink(path)  # noqa: PTH108
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: PTH101
    listener.listen(64)
    return listener
