"""Every policy."""

from __future__ import annotations

from pydamon.policies.base import Policy
from pydamon.policies.lru_sort import LruSort
from pydamon.policies.reclaim import Reclaim
from pydamon.policies.stat import Stat
from pydamon.policies.thp import Thp
from pydamon.policies.tier import Tier

__all__ = ["POLICIES"]

_TYPES: tuple[type[Policy], ...] = (Reclaim, Thp, LruSort, Tier, Stat)
POLICIES = {kind.name: kind for kind in _TYPES}
"""Every policy by name."""
