"""Which objects of this interpreter are in use: arrays, frames, tensors, by variable name.

`watch` watches a block of code, `ObjectReport` says which objects it used.
"""

from pydamon._objects.buffers import Buffer, find_buffers
from pydamon._objects.owners import owners_of
from pydamon._objects.report import ObjectReport, ObjectUse, attribute
from pydamon._objects.watch import Watch, watch

__all__ = [
    "Buffer",
    "ObjectReport",
    "ObjectUse",
    "Watch",
    "attribute",
    "find_buffers",
    "owners_of",
    "watch",
]
