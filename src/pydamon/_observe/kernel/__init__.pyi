from .claim import Claim, Record, check_free, leftover, remove_leftover
from .engine import KernelEngine
from .kdamond import Kdamond, KernelTarget, Settings
from .monitor import KernelMonitor

__all__ = [
    "Claim",
    "Kdamond",
    "KernelEngine",
    "KernelMonitor",
    "KernelTarget",
    "Record",
    "Settings",
    "check_free",
    "leftover",
    "remove_leftover",
]
