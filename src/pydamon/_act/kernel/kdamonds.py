"""Several kdamonds of the kernel's DAMON at once, each with settings and schemes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydamon._model.closing import Closing
from pydamon._model.errors import UsageError
from pydamon._model.schemes import SchemeStats
from pydamon._observe.kernel import Claim, KdamondSettings, KernelTarget
from pydamon._observe.targets.physical import PaddrSpace

__all__ = ["Kdamonds"]


class Kdamonds(Closing):
    """Runs kdamonds side by side, such as one for each memory node; the kernel does it all.

    It yields no snapshots: ``pydamon.monitor(engine="kernel", join=kdamonds.pids[0])`` looks on at
    one of them. Closing it switches them off and removes them. The kernel has one user of DAMON's
    files at a time, and takes one context for each kdamond.

    Parameters
    ----------
    settings
        The settings of each kdamond. Physical memory without ranges is all of it.

    Raises
    ------
    UsageError
        For no settings at all.
    ProbeUnavailable
        Where the kernel has no DAMON, somebody else uses it, or it lacks something; the message
        names the release that brought it.
    KernelError
        For settings that the kernel refuses.

    Attributes
    ----------
    settings : tuple of KdamondSettings
        The settings in use.

    Examples
    --------
    ```python
    settings = pydamon.read_damo_kdamonds("tiering.json")
    with pydamon.Kdamonds(settings) as kdamonds:
        while any(kdamonds.running):
            print(kdamonds.stats())
            time.sleep(5)
    ```
    """

    def __init__(self, settings: Sequence[KdamondSettings]) -> None:
        if not settings:
            raise UsageError("there is no kdamond to run")
        self.settings = tuple(map(_with_memory, settings))
        self._claim = Claim(kdamonds=len(self.settings))
        try:
            for number, each in enumerate(self.settings):
                self._claim.start(each, number)
        except BaseException:
            self._claim.close()
            raise

    @property
    def running(self) -> tuple[bool, ...]:
        """Whether each kdamond is on: it ends with its last target."""
        return tuple(kdamond.running for kdamond in self._claim.kdamonds)

    @property
    def pids(self) -> tuple[int, ...]:
        """The pid of each kernel thread; -1 for one that is off."""
        return tuple(kdamond.pid for kdamond in self._claim.kdamonds)

    def stats(self) -> list[list[tuple[SchemeStats, int]]]:
        """What the schemes of each kdamond did so far, and how many bytes their quotas allow now.

        Empty for a kdamond that is off.
        """
        stats = []
        for kdamond, settings in zip(self._claim.kdamonds, self.settings, strict=True):
            if kdamond.running:
                kdamond.feed_goals(settings.schemes)
            stats.append(kdamond.stats() if kdamond.running else [])
        return stats

    def change(self, number: int, settings: KdamondSettings) -> None:
        """Give a kdamond other settings; its regions and ages stay.

        Parameters
        ----------
        number
            Which one.
        settings
            The settings that take the place of its own.

        Raises
        ------
        ProbeUnavailable, KernelError
            As when they start.
        """
        settings = _with_memory(settings)
        self._claim.change(settings, number)
        self.settings = (*self.settings[:number], settings, *self.settings[number + 1 :])

    def pause(self, number: int, paused: bool = True) -> None:
        """Let a kdamond rest, with regions and ages as they are, or go on.

        Parameters
        ----------
        number
            Which one.
        paused
            Whether it rests.

        Raises
        ------
        ProbeUnavailable
            Before Linux 7.2.
        """
        self._claim.kdamonds[number].pause(paused)

    def close(self) -> None:
        """Switch the kdamonds off and remove them; harmless when done twice."""
        self._claim.close()


def _with_memory(settings: KdamondSettings) -> KdamondSettings:
    """The settings with all physical memory, where that is meant and no range is named."""
    if settings.operations != "paddr" or any(target.ranges for target in settings.targets):
        return settings
    (ranges,) = PaddrSpace().update(1).ranges
    memory = tuple((int(start), int(end)) for start, end in ranges)
    return replace(settings, targets=(KernelTarget(0, memory),))
