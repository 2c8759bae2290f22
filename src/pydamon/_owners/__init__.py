"""Providers of owners: what tells which stack, table or heap holds which memory.

A new provider is a module here, and its line in `PROVIDERS`. The module has a function
`read(source) -> Owners`, or `watch(pids, argument) -> OwnerWatch` if it must ask while a recording
is written. This table imports nothing, because the command line makes its options of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydamon._model.owners import Owners

__all__ = ["PROVIDERS", "Provider"]


@dataclass(frozen=True, slots=True)
class Provider:
    """What can tell owners.

    Parameters
    ----------
    name
        Its name, and that of its option: `report owners FILE --NAME SOURCE`.
    source
        What `SOURCE` is, for help texts.
    asks
        What it asks of the program.
    costs
        What that costs the program, as measured.
    place
        The module with its function `read(source) -> Owners`, or `watch(pids, argument)`.
    argument
        What may follow its name in `record --owners NAME=ARGUMENT`; `None` if it tells nothing
        while a recording is written.
    """

    name: str
    source: str
    asks: str
    costs: str
    place: str
    argument: str | None = None

    def read(self, source: str) -> Owners:
        """Read owners.

        Raises
        ------
        UsageError
            If the source cannot be read, or a package that reads it is missing.
        """
        owners: Owners = import_module(f"{__name__}.{self.place}").read(source)
        return owners


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        name="memray",
        source="a capture file of memray",
        asks="the program runs under memray, from its start",
        costs="loops that only allocate take 2 to 3 times as long; 5 to 9 with --memray-objects",
        place="memray",
    ),
    Provider(
        name="heaptrack",
        source="a file of `heaptrack --raw`",
        asks="the program runs under heaptrack from its start, or heaptrack attaches to it",
        costs="each allocation is noted: see the documentation",
        place="heaptrack",
    ),
    Provider(
        name="postgresql",
        source="",
        asks="read-only queries of pg_buffercache, pg_shmem_allocations and the catalogs",
        costs="a query of all buffers at most every 10 seconds",
        place="postgresql",
        argument="how to connect, as for psql; by default to the server's own socket",
    ),
    Provider(
        name="jvm",
        source="",
        asks="VM.info and VM.native_memory by jcmd, and once Thread.print",
        costs="a jcmd at most every 10 seconds; the program's threads stop once, for milliseconds",
        place="jvm",
        argument="the path of jcmd; by default that of the program's JDK",
    ),
    Provider(
        name="proc",
        source="",
        asks="nothing: the files of the processes in /proc are read",
        costs="these files are read at most every 10 seconds",
        place="proc",
        argument="",
    ),
)
"""Every provider, in the order of the options."""
