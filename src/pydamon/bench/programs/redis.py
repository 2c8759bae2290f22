"""redis-server, with a client that keeps asking for values."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydamon.bench.programs.base import running, wait_for_line
from pydamon.core.errors import TargetError

__all__ = ["Redis", "serving"]

_LOAD = Path(__file__).with_name("redis_load.py")
_SERVER = "redis-server"
_REDIS_PATIENCE_S = 10
_REDIS_RATE_HZ = 20_000


@dataclass(frozen=True, slots=True)
class Redis:
    """A server full of values; `load` says which of them are asked for, as redis_load.py has it."""

    name: str
    about: str
    load: str

    def missing(self) -> str:
        """The server has to be installed; the client is here."""
        return "" if shutil.which(_SERVER) else f"{_SERVER} is not installed"

    @contextmanager
    def start(self, seed: int) -> Iterator[int]:
        """A server that answers 20,000 requests a second."""
        with serving(self.load, _REDIS_RATE_HZ, seed) as (pid, _):
            yield pid


@contextmanager
def serving(load: str, rate_hz: int, seed: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The pid of a server, and the client that asks so often; with a rate of 0 when it is told."""
    with tempfile.TemporaryDirectory(prefix="pydamon-") as directory:
        path = Path(directory, "socket")
        options = ("--port", "0", "--save", "", "--dir", directory, "--unixsocket", path)
        with running([_SERVER, *options], stdout=subprocess.DEVNULL) as server:
            deadline_s = time.monotonic() + _REDIS_PATIENCE_S
            while not path.exists():
                if server.poll() is not None or time.monotonic() > deadline_s:
                    raise TargetError(f"{_SERVER} did not start")
                time.sleep(0.05)
            pipe = subprocess.PIPE
            client: list[str | Path] = [sys.executable, _LOAD, path, load, str(rate_hz), str(seed)]
            with running(client, stdin=pipe, stdout=pipe) as process:
                wait_for_line(process, "the client of redis")
                yield server.pid, process
