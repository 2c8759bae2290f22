"""A connection to the daemon: requests, replies, and the memory that both share."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from pydamon._daemon.protocol import (
    ARGUMENTS,
    REPLY,
    REQUEST,
    SOCKET,
    TEXT_BYTES,
    VERSION,
    Op,
    Status,
)
from pydamon._model.errors import ProbeError, ProbeUnavailable
from pydamon._observe.probes.base import RealClock
from pydamon._observe.probes.ebpf.plan import fingerprint

__all__ = ["Connection", "DaemonClock", "RefusedByDaemon", "socket_path"]

_VARIABLE = "PYDAMON_SOCKET"
_REPLY_S = 60
"""How long to wait for a reply: a user over the budget waits for it."""


def socket_path() -> Path:
    """Where the daemon listens: `/run/pydamon.sock`, or what `PYDAMON_SOCKET` names."""
    return Path(os.environ.get(_VARIABLE) or SOCKET)


class RefusedByDaemon(ProbeError):  # noqa: N818
    """The daemon refused a request; the session goes on."""


class DaemonClock(RealClock):
    """The machine's clock; CPU time is that of this thread and of the daemon for it."""

    def __init__(self) -> None:
        super().__init__()
        self.daemon_ns = 0

    def cpu_ns(self) -> int:
        return super().cpu_ns() + self.daemon_ns


class Connection:
    """A connection to a daemon of this version, with the bounds of its sessions.

    Raises `ProbeUnavailable` if there is none, or if it refuses this user.
    """

    def __init__(self, clock: DaemonClock) -> None:
        self._clock = clock
        self._number = 0
        path = socket_path()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.settimeout(_REPLY_S)
            self._socket.connect(str(path))
            values = self.request(Op.HELLO, VERSION, fingerprint())
            self.max_regions, self.max_targets, reads_back, *_ = values
            self.reads_back = bool(reads_back)
        except OSError as error:
            self.close()
            raise ProbeUnavailable(
                f"no daemon answers at {path}: {error.strerror or error}",
                hint="root can start it with `pydamon daemon`, or the unit pydamon.socket",
            ) from None
        except ProbeUnavailable:
            self.close()
            raise
        except RefusedByDaemon as error:
            self.close()
            raise ProbeUnavailable(f"the daemon refuses: {error}") from None
        except ProbeError as error:
            self.close()
            raise ProbeUnavailable(str(error)) from None

    def request(
        self, op: Op, *arguments: int, fds: Sequence[int] = (), received: list[int] | None = None
    ) -> tuple[int, ...]:
        """Ask the daemon: the values of its reply.

        Descriptors of the reply are added to *received*. Raises `RefusedByDaemon`, or `ProbeError`
        once the connection has ended.
        """
        self._number = (self._number + 1) & 0xFFFFFFFF
        packet = REQUEST.pack(op, 0, self._number, *arguments, *(0,) * (ARGUMENTS - len(arguments)))
        try:
            socket.send_fds(self._socket, [packet], list(fds))
            data, new, _, _ = socket.recv_fds(self._socket, REPLY.size + TEXT_BYTES, 1)
        except OSError as error:
            raise _ended(error.strerror or str(error)) from None
        if received is not None:
            received += new
        if len(data) < REPLY.size:
            raise _ended("it closed the connection")
        _, status, cpu_ns, *values = REPLY.unpack_from(data)
        self._clock.daemon_ns += cpu_ns
        if status != Status.OK:
            text = data[REPLY.size :].decode(errors="replace")
            raise RefusedByDaemon(text) if status == Status.REFUSED else _ended(text)
        return tuple(values)

    def close(self) -> None:
        """End the session."""
        self._socket.close()


def _ended(why: str) -> ProbeError:
    hint = "start again; the journal of pydamon.service may say more"
    return ProbeError(f"the daemon ended the session: {why}", hint=hint)
