"""Real servers with a constant load: PostgreSQL with pgbench, and redis."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydamon._bench.programs.base import running, wait_for_line
from pydamon._model.errors import TargetError

__all__ = ["Postgres", "Redis", "serving"]

_BINARIES = ("initdb", "postgres", "pgbench")
_DEBIAN = Path("/usr/lib/postgresql")
_SCALE = 15
_ROWS, _HOT = 100_000 * _SCALE, 10_000
_CLIENTS = 10
_PGBENCH_RATE_HZ = 5000
_WARM_UP_S = 8
_POSTGRES_PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Postgres:
    """PostgreSQL with pgbench's tables (220 MiB, in shared buffers), and 10 clients.

    A share of `hot` of the queries select from the same 10,000 of 1,500,000 rows. Each backend
    reads all tables first, so that it has mapped them, as in a server that has run for long.
    """

    name: str
    about: str
    hot: float

    def missing(self) -> str:
        """Return the missing programs of PostgreSQL."""
        absent = [name for name in _BINARIES if _binary(name) is None]
        return f"PostgreSQL's {' and '.join(absent)} not installed" if absent else ""

    @contextmanager
    def start(self, seed: int) -> Iterator[int]:
        """Run a server with 10 backends that answer 5,000 queries a second."""
        user = _unprivileged()
        with tempfile.TemporaryDirectory(prefix="pydamon-") as directory:
            place = Path(directory)
            if user:
                shutil.chown(place, user["user"], user["group"])
            with _server(place, user) as pid:
                _pgbench(place, user, "-i", "-q", "-s", str(_SCALE))
                script = place / "select.sql"
                script.write_text(_script(self.hot))
                load = (
                    "-n",
                    "-M",
                    "prepared",
                    "-D",
                    "fresh=1",
                    "-c",
                    str(_CLIENTS),
                    "-R",
                    str(_PGBENCH_RATE_HZ),
                    "-T",
                    "86400",
                )
                chance = ("--random-seed", str(seed), "-f", str(script))
                argv = [str(_binary("pgbench")), "-h", directory, *load, *chance, "postgres"]
                with running(argv, **user, **_QUIET):
                    time.sleep(_WARM_UP_S)
                    yield pid


_SETTINGS = (
    "listen_addresses=",
    "shared_buffers=256MB",
    "fsync=off",
    # Background work would make the load uneven.
    "autovacuum=off",
    "max_parallel_workers_per_gather=0",
)
_QUIET: dict[str, Any] = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "cwd": "/",
}


def _script(hot: float) -> str:
    return (
        "\\if :fresh = 1\nSELECT count(*) FROM pgbench_accounts;\n"
        "SET enable_seqscan = off;\nSELECT count(aid) FROM pgbench_accounts;\n"
        "\\set fresh 0\n\\endif\n"
        f"\\set row random(1, {_ROWS})\n"
        f"\\if random(1, 1000) <= {round(1000 * hot)}\n\\set row random(1, {_HOT})\n\\endif\n"
        "SELECT abalance FROM pgbench_accounts WHERE aid = :row;\n"
    )


@contextmanager
def _server(place: Path, user: dict[str, Any]) -> Iterator[int]:
    data = place / "data"
    made = [str(_binary("initdb")), "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync"]
    subprocess.run(made, check=True, **user, **_QUIET)
    settings = (f"unix_socket_directories={place}", *_SETTINGS)
    options = [word for setting in settings for word in ("-c", setting)]
    with running([str(_binary("postgres")), "-D", str(data), *options], **user, **_QUIET) as server:
        deadline_s = time.monotonic() + _POSTGRES_PATIENCE_S
        while not (place / ".s.PGSQL.5432").exists():
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise TargetError("PostgreSQL did not start")
            time.sleep(0.1)
        time.sleep(1)
        try:
            yield server.pid
        finally:
            # Stop at once, without waiting for the clients.
            server.send_signal(signal.SIGQUIT)


def _pgbench(place: Path, user: dict[str, Any], *options: str) -> None:
    argv = [str(_binary("pgbench")), "-h", str(place), *options, "postgres"]
    try:
        subprocess.run(argv, check=True, timeout=_POSTGRES_PATIENCE_S, **user, **_QUIET)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise TargetError("pgbench could not fill its tables") from None


def _binary(name: str) -> Path | None:
    """Find a program of PostgreSQL; Debian keeps the server's programs outside the PATH."""
    versions = [path for path in _DEBIAN.glob("*/bin") if (path / name).exists()]
    if versions:
        return max(versions, key=lambda path: float(path.parent.name)) / name
    path = shutil.which(name)
    return Path(path) if path else None


def _unprivileged() -> dict[str, Any]:
    """Return the user for `subprocess`, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {
        "user": entry.pw_uid,
        "group": entry.pw_gid,
        "extra_groups": [],
    }


_LOAD = Path(__file__).with_name("redis_load.py")
_SERVER = "redis-server"
_REDIS_PATIENCE_S = 10
_REDIS_RATE_HZ = 20_000


@dataclass(frozen=True, slots=True)
class Redis:
    """A redis server; `load` is the distribution of requests of redis_load.py."""

    name: str
    about: str
    load: str

    def missing(self) -> str:
        """Return the server's name if it is not installed."""
        return "" if shutil.which(_SERVER) else f"{_SERVER} is not installed"

    @contextmanager
    def start(self, seed: int) -> Iterator[int]:
        """Run a server that answers 20,000 requests a second."""
        with serving(self.load, _REDIS_RATE_HZ, seed) as (pid, _):
            yield pid


@contextmanager
def serving(load: str, rate_hz: int, seed: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server and a client with this load; yields the server's pid and the client."""
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
