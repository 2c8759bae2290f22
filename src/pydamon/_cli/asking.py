"""`record --owners`: ask providers who owns the memory while a recording is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydamon._cli.command import eprint, option
from pydamon._owners import PROVIDERS

if TYPE_CHECKING:
    from pydamon._observe.monitor import Monitor

__all__ = ["announce_owners", "asking_owners", "live_owners_option", "owners_option"]

_WATCHING = [provider for provider in PROVIDERS if provider.argument is not None]

owners_option = option(
    "--owners",
    "owners",
    multiple=True,
    metavar="NAME[=ARGUMENT]",
    help="also ask who owns the memory, for `report owners`; with --page-map: "
    + ", ".join(provider.name for provider in _WATCHING)
    + "; repeatable",
)

live_owners_option = option(
    "--owners",
    "owners",
    multiple=True,
    metavar="NAME[=ARGUMENT]",
    help="also ask who owns the memory, besides what /proc tells: "
    + ", ".join(provider.name for provider in _WATCHING if provider.argument)
    + "; repeatable",
)


def announce_owners(owners: Sequence[str]) -> None:
    """Say what providers will ask of the programs."""
    names = {choice.partition("=")[0] for choice in owners}
    for provider in _WATCHING:
        if provider.name in names:
            eprint(f"{provider.name} asks {provider.asks}; cost: {provider.costs}")


@contextmanager
def asking_owners(
    mon: Monitor, path: Path, owners: Sequence[str], *, force: bool, waits: bool
) -> Iterator[None]:
    """Ask providers of owners while the recording is written; say before what they ask."""
    if not owners:
        yield
        return
    from pydamon._owners.watching import OwnersRecorder

    announce_owners(owners)

    def pids() -> list[int]:
        return [target.pid for target in mon.layout.targets if target.pid]

    with OwnersRecorder(owners, path, pids, waits=waits, force=force) as recorder:
        yield
    for failure in recorder.failures:
        eprint(f"warning: {failure}")
