"""Providers of owners: what tells which stack, table or heap holds which memory.

A new provider is a module here, with a function `read(source) -> Owners`, and its line in
`PROVIDERS`. This table imports nothing, because the command line makes its options of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydamon._model.owners import Owners

__all__ = ["PROVIDERS", "Provider", "provider_named"]


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
        The module with its function `read(source) -> Owners`.
    """

    name: str
    source: str
    asks: str
    costs: str
    place: str

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
)
"""Every provider, in the order of the options."""


def provider_named(name: str) -> Provider:
    """The provider with a name; a `KeyError` if there is none."""
    return {provider.name: provider for provider in PROVIDERS}[name]
