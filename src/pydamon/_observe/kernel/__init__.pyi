from .claim import Claim, Record, check_free, leftover, remove_leftover
from .engine import KernelEngine
from .join import JoinedMonitor
from .kdamond import Kdamond
from .monitor import KernelMonitor
from .running import RunningKdamond, running_kdamonds
from .settings import KdamondSettings, KernelTarget

__all__ = [
    "Claim",
    "JoinedMonitor",
    "Kdamond",
    "KdamondSettings",
    "KernelEngine",
    "KernelMonitor",
    "KernelTarget",
    "Record",
    "RunningKdamond",
    "check_free",
    "leftover",
    "remove_leftover",
    "running_kdamonds",
]
