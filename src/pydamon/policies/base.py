"""What a policy is: schemes for one purpose, with few parameters that have good defaults."""

from __future__ import annotations

from typing import ClassVar, Protocol

from pydamon.core.snapshot import Snapshot
from pydamon.schemes import Scheme

__all__ = ["Policy"]


class Policy(Protocol):
    """Parameters, as fields of a frozen attrs class whose docstring is the help of its command."""

    name: ClassVar[str]

    def schemes(self) -> tuple[Scheme, ...]:
        """The schemes that it consists of."""
        ...

    def figures(self, snapshot: Snapshot) -> dict[str, object]:
        """What its status shows besides the statistics of its schemes."""
        ...
