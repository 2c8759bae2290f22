"""The objects of this interpreter as owners of memory."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pydamon._model.owners import OwnedInterval, Owners
from pydamon._objects.buffers import Buffer

__all__ = ["owners_of"]


def owners_of(buffers: Iterable[Buffer], *, pid: int | None = None) -> Owners:
    """Make owners of objects: who has which addresses, by the names that lead to each object.

    Parameters
    ----------
    buffers
        The objects, as `find_buffers` finds them.
    pid
        The process that they are in; by default this one.

    Returns
    -------
    Owners
        An owner for each object, below its kind.

    Examples
    --------
    >>> owners = owners_of([Buffer("ndarray", ("table['x']",), ((0, 4096), (8192, 12288)))])
    >>> owners.paths, len(owners)
    ((('ndarray', "table['x']"),), 2)
    """
    return Owners.of(
        (
            OwnedInterval((buffer.kind, buffer.name), start, end)
            for buffer in buffers
            for start, end in buffer.spans
        ),
        pids=(os.getpid() if pid is None else pid,),
        notes=("the objects are those that existed when they were looked for",),
    )
