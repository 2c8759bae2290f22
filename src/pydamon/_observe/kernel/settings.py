"""What a kdamond of the kernel's DAMON is told: targets, attributes, schemes."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.errors import UsageError
from pydamon._model.schemes import Scheme

__all__ = ["KdamondSettings", "KernelTarget"]

_LARGEST_UNIT = 1 << 30


@dataclass(frozen=True, slots=True)
class KernelTarget:
    """A target: a process (not for `paddr`), and address ranges in bytes (not for `vaddr`)."""

    pid: int = 0
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class KdamondSettings:
    """The settings of a kdamond: what it monitors, how, and which schemes it applies.

    Parameters
    ----------
    operations
        ``"vaddr"``, ``"fvaddr"`` (given addresses of processes) or ``"paddr"`` (physical memory).
    targets
        What it monitors.
    attrs, goal
        The intervals and numbers of regions, and what the kernel tunes the intervals to.
    schemes
        What it does.
    probes
        The kinds of pages to probe for (Linux 7.2).
    address_unit
        Bytes of one unit of the kernel's addresses of physical memory (Linux 6.18): for 32-bit
        processors with more memory than a long has addresses. Sizes here are bytes all the same.
    refresh_ns
        How often the kernel refreshes statistics and tuned intervals in its files by itself, for
        other programs that read them (Linux 6.17); 0 is never.
    paused
        Whether it rests from the start (Linux 7.2).

    Examples
    --------
    >>> from pydamon import KdamondSettings, KernelTarget, Scheme
    >>> settings = KdamondSettings("vaddr", (KernelTarget(1234),), schemes=(Scheme("stat"),))
    >>> settings.attrs.aggregation_ns
    100000000
    """

    operations: str
    targets: tuple[KernelTarget, ...]
    attrs: Attrs = field(default_factory=Attrs)
    goal: IntervalGoal | None = None
    schemes: tuple[Scheme, ...] = ()
    probes: tuple[str, ...] = ()
    address_unit: int = 1
    refresh_ns: int = 0
    paused: bool = False

    def __post_init__(self) -> None:
        unit = self.address_unit
        if not 1 <= unit <= _LARGEST_UNIT or unit & (unit - 1):
            raise UsageError(f"a unit of addresses is a power of two, up to 1 GiB, not {unit}")
        if unit > 1 and self.operations != "paddr":
            raise UsageError(
                "only physical memory has a unit of addresses",
                hint="leave it out for the memory of processes",
            )
        if not 0 <= self.refresh_ns < 2**32 * 10**6:
            raise UsageError("the kernel refreshes its files every 1 ms to 49 days")
