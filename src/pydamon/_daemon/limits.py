"""What each user, and all together, may take: connections, targets, CPU time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from .machine import Refused

_REMEMBERED_S = 60.0


@dataclass(frozen=True)
class Limits:
    """Bounds; the CPU time is a share of one CPU, that of the daemon itself."""

    user_connections: int = 8
    connections: int = 128
    user_refusals: int = 4
    refusals: int = 32
    """Connections too many, which are told so; more are closed without a word."""
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

    count: Counter[str] = field(default_factory=Counter)
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

    def take(self, what: str, uid: int, count: int = 1) -> None:
        """Count `connections`, `refusals` or `targets`; raises `Refused` if there are too many."""
        most, most_of_all = getattr(self.limits, f"user_{what}"), getattr(self.limits, what)
        with self._lock:
            user = self._users.setdefault(uid, _Account(credit_s=self.limits.burst_s))
            if user.count[what] + count > most:
                raise Refused(f"a user has at most {most} {what}")
            if self._all.count[what] + count > most_of_all:
                raise Refused(f"all users have at most {most_of_all} {what}")
            user.count[what] += count
            self._all.count[what] += count

    def give_back(self, what: str, uid: int, count: int = 1) -> None:
        """Count less; the CPU time of users who left stays noted for a while."""
        with self._lock:
            self._users[uid].count[what] -= count
            self._all.count[what] -= count
            recent_s = time.monotonic() - _REMEMBERED_S
            for other, user in list(self._users.items()):
                if not user.count.total() and user.at_s < recent_s:
                    del self._users[other]

    def charge(self, uid: int, cost_ns: int) -> float:
        """Note CPU time; how long this user's thread is to wait for it."""
        limits, cost_s = self.limits, cost_ns / 1e9
        with self._lock:
            return max(
                self._users[uid].charge(cost_s, limits.user_cpu, limits.burst_s),
                self._all.charge(cost_s, limits.cpu, limits.burst_s),
            )
