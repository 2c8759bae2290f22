from .base import Policy
from .config import POLICIES, Config, Monitoring, TargetSelection, load_config
from .lru_sort import LruSort
from .reclaim import Reclaim
from .service import Service
from .stat import Stat
from .status import StatusFile, read_statuses
from .thp import Thp
from .tier import Tier

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
    "TargetSelection",
    "Thp",
    "Tier",
    "load_config",
    "read_statuses",
]
