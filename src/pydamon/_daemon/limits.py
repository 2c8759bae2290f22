"""What each user, and all together, may take: connections, targets, CPU time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from .machine import Refused

__all__ = ["Limits", "Usage"]


@dataclass(frozen=True)
class Limits:
    """Bounds; the CPU time is a share of one CPU, that of the daemon itself."""

    user_connections: int = 8
    connections: int = 128
    user_targets: int = 512
    targets: int = 4096
    user_cpu: float = 0.05
    cpu: float = 0.5
    burst_s: float = 0.5
    """CPU time that may be used at once, if little was used before."""
    idle_s: float = 300.0


@dataclass
class _Account:
    """What one user, or all, take at the moment."""

    connections: int = 0
    targets: int = 0
    credit_s: float = 0.0
    at_s: float = field(default_factory=time.monotonic)

    def charge(self, cost_s: float, share: float, burst_s: float) -> float:
        """Take CPU time off the credit; how long to wait until there is credit again."""
        now_s = time.monotonic()
        self.credit_s = min(burst_s, self.credit_s + share * (now_s - self.at_s)) - cost_s
        self.at_s = now_s
        return max(0.0, -self.credit_s / share)


class Usage:
    """Counts what is in use, for all threads."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._all = _Account(credit_s=limits.burst_s)
        self._users: dict[int, _Account] = {}

    def connect(self, uid: int) -> None:
        """Count a connection; raises `Refused` if there are too many."""
        limits = self.limits
        with self._lock:
            user = self._users.setdefault(uid, _Account(credit_s=limits.burst_s))
            if user.connections >= limits.user_connections:
                raise Refused(f"a user has at most {limits.user_connections} sessions here")
            if self._all.connections >= limits.connections:
                raise Refused(f"there are at most {limits.connections} sessions")
            user.connections += 1
            self._all.connections += 1

    def disconnect(self, uid: int, targets: int) -> None:
        """Give back a connection with its targets; its CPU time stays noted for a while."""
        with self._lock:
            for account in (self._users[uid], self._all):
                account.connections -= 1
                account.targets -= targets
            now_s = time.monotonic()
            for other, user in list(self._users.items()):
                if not user.connections and now_s - user.at_s > 60:
                    del self._users[other]

    def add_targets(self, uid: int, count: int) -> None:
        """Count targets, or with a negative *count* give them back; raises `Refused`."""
        limits = self.limits
        with self._lock:
            user = self._users[uid]
            if count > 0 and user.targets + count > limits.user_targets:
                raise Refused(f"a user watches at most {limits.user_targets} processes")
            if count > 0 and self._all.targets + count > limits.targets:
                raise Refused(f"all users watch at most {limits.targets} processes")
            user.targets += count
            self._all.targets += count

    def charge(self, uid: int, cost_ns: int) -> float:
        """Note CPU time; how long this user's thread is to wait for it."""
        limits, cost_s = self.limits, cost_ns / 1e9
        with self._lock:
            return max(
                self._users[uid].charge(cost_s, limits.user_cpu, limits.burst_s),
                self._all.charge(cost_s, limits.cpu, limits.burst_s),
            )
