"""The kernel's DAMON as an engine; what drives it is imported when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydamon._model.errors import UsageError
from pydamon._observe.options import MonitorOptions

if TYPE_CHECKING:
    from pydamon._observe.kernel.files import Files
    from pydamon._observe.monitor import Monitor, Selection

__all__ = ["KernelEngine"]


@dataclass(frozen=True, slots=True)
class KernelEngine:
    """Has the kernel's DAMON monitor processes or physical memory, or joins a kdamond that runs.

    `files` are the kernel's (`None`: those of this machine), and `state` is the directory in
    which pydamon notes which kdamond is its own. `events` off reads results from files even where
    the tracepoint can be had.
    """

    name: ClassVar[str] = "kernel"
    files: Files | None = None
    state: Path | None = None
    events: bool = True

    def open(self, selection: Selection, options: MonitorOptions) -> Monitor:
        """Start to monitor; raises as `Engine.open` says."""
        if options.sampling_only:
            raise UsageError(
                f"{options.sampling_only[0]} is for sampling, not for the kernel's DAMON",
                hint='leave it out, or use the engine "sampling"',
            )
        if options.join is not False:
            from pydamon._observe.kernel.join import open_joined  # noqa: PLC0415

            return open_joined(selection, options, files=self.files)
        from pydamon._observe.kernel.monitor import open_monitor  # noqa: PLC0415

        return open_monitor(
            selection, options, files=self.files, state=self.state, events=self.events
        )
