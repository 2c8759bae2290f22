"""Which objects of this interpreter are in use: arrays, frames, tensors, by variable name.

with pydamon.objects.watch() as watching:
    work()
print(watching.report)
"""

from pydamon.objects.buffers import Buffer, find_buffers
from pydamon.objects.report import ObjectReport, ObjectUse, attribute
from pydamon.objects.watch import Watch, watch

__all__ = [
    "Buffer",
    "ObjectReport",
    "ObjectUse",
    "Watch",
    "attribute",
    "find_buffers",
    "watch",
]
