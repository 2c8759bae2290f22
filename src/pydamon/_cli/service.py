"""Running `apply` and the policies as a service."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import attrs

from pydamon._act.policies import Config, Monitoring, Service, StatusFile
from pydamon._cli.command import Args, eprint, handling, print_json, show_warnings
from pydamon._cli.streams import show_wrapped
from pydamon._model.errors import UsageError
from pydamon._model.units import parse_duration_ns
from pydamon._show.results.schemes import StatusView, status_line

if TYPE_CHECKING:
    from pydamon._act.policies.kernel_service import KernelService

__all__ = ["handle_signals", "monitoring_from", "run_service", "with_given"]

_MONITORING = (
    *("engine", "sample", "aggr", "update", "max_regions", "cpu_budget_percent", "refresh"),
)
"""Arguments of the command line that are fields of a configuration."""


def monitoring_from(
    args: Args,
    config: Monitoring = Monitoring(),  # noqa: B008
) -> Monitoring:
    """Return how to monitor: options of the command line override *config*."""
    given = {name: getattr(args, name) for name in _MONITORING}
    return attrs.evolve(config, **{k: v for k, v in given.items() if v is not None})


def with_given(config: Config, args: Args) -> Config:
    """Override the configuration of a file by the options of the command line."""
    target = attrs.evolve(config.target, children=False) if args.no_children else config.target
    return attrs.evolve(
        config,
        name=args.name or config.name,
        target=target,
        monitoring=monitoring_from(args, config.monitoring),
    )


def run_service(args: Args, load: Callable[[], Config], *, of_file: bool = True) -> int:
    """Run a service until its end, print its status, and return the exit code.

    The exit code is that of the command, if there is one and it ended by itself. With *of_file*,
    SIGHUP makes the service load its configuration again.
    """
    duration_ns = parse_duration_ns(args.duration) if args.duration else None
    if duration_ns == 0:
        raise UsageError("the duration must be longer than 0")
    progress = _Progress()
    service = Service(load, dry_run=args.dry_run, duration_ns=duration_ns, complain=progress.say)
    with StatusFile(service.config.name) as file, service:
        progress.file = file
        service.report = progress.show
        with handle_signals(service, progress.say, reloads=of_file) as stops:
            service.run()
        progress.say("", end="")
        if args.json:
            print_json(progress.last)
        elif progress.last:
            show_wrapped(StatusView(progress.last))
    return 0 if stops else service.exit_code


class _Progress:
    """A progress line, updated once a second on a terminal, and at changes of state elsewhere."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self.file: StatusFile | None = None
        self._terminal = sys.stderr.isatty()
        self._states: list[str] = []

    def show(self, status: dict[str, Any]) -> None:
        if self.file is not None:
            self.file.write(status)
        # The figures behind the colon change all the time.
        states = [scheme["state"].partition(":")[0] for scheme in status["schemes"]]
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            self.say(status_line(status)[: columns - 1], end="")
        elif states != self._states or not self.last:
            self.say(status_line(status))
        self.last, self._states = status, states

    def say(self, text: str, end: str = "\n") -> None:
        """Print a line; on a terminal it replaces the progress line."""
        eprint(f"\r\x1b[K{text}" if self._terminal else text, end=end)


@contextmanager
def handle_signals(
    service: Service | KernelService, say: Callable[[str], None], *, reloads: bool
) -> Iterator[list[int]]:
    """Stop the service at SIGINT and SIGTERM, and at SIGHUP unless that *reloads* a file.

    Yields the list of the signals that stopped it.
    """
    stops: list[int] = []

    def hang_up(number: int, frame: FrameType | None) -> None:
        if reloads:
            service.reload()
            return
        say("SIGHUP: there is no configuration file to read again, so the service stops")
        stop(number, frame)

    def stop(number: int, _: FrameType | None) -> None:
        stops.append(number)
        service.stop()

    show_warnings()
    with handling({signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: hang_up}):
        yield stops
