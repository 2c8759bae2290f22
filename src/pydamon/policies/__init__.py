"""Ready uses of schemes: one file each, and one line here."""

from __future__ import annotations

from pydamon.policies.base import Policy
from pydamon.policies.config import Config, Monitoring, Whom, load_config
from pydamon.policies.lru_sort import LruSort
from pydamon.policies.reclaim import Reclaim
from pydamon.policies.service import Service
from pydamon.policies.stat import Stat
from pydamon.policies.status import StatusFile, read_statuses
from pydamon.policies.thp import Thp
from pydamon.policies.tier import Tier

__all__ = [
    "POLICIES",
    "Config",
    "LruSort",
    "Monitoring",
    "Policy",
    "Reclaim",
    "Service",
    "Stat",
    "StatusFile",
    "Thp",
    "Tier",
    "Whom",
    "load_config",
    "read_statuses",
]

_TYPES: tuple[type[Policy], ...] = (Reclaim, Thp, LruSort, Tier, Stat)
POLICIES = {kind.name: kind for kind in _TYPES}
"""Every policy by name."""
