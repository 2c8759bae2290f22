from .claim import Claim, Record, check_free, leftover, remove_leftover
from .engine import KernelEngine
from .join import JoinedMonitor
from .kdamond import Kdamond, KernelTarget, Settings
from .monitor import KernelMonitor
from .running import RunningKdamond, running_kdamonds

__all__ = [
    "Claim",
    "JoinedMonitor",
    "Kdamond",
    "KernelEngine",
    "KernelMonitor",
    "KernelTarget",
    "Record",
    "RunningKdamond",
    "Settings",
    "check_free",
    "leftover",
    "remove_leftover",
    "running_kdamonds",
]
