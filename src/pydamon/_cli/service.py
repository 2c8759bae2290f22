"""What the commands that act on processes share."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from pydamon._act.policies import Config, Monitoring, Service, StatusFile, TargetSelection
from pydamon._cli.command import Args, eprint, print_json, show_warnings
from pydamon._cli.screen import show_wrapped
from pydamon._cli.signals import handling
from pydamon._model.errors import UsageError
from pydamon._model.units import parse_duration_ns
from pydamon._show.results.service import StatusView, status_line

__all__ = ["monitoring_from", "run_service", "target_from", "with_given"]

_MONITORING = ("engine", "sample", "aggr", "update", "max_regions", "cpu_budget_percent")
"""Arguments of the command line that are fields of a configuration."""


def target_from(args: Args) -> TargetSelection | None:
    """Whose memory the command line means, if it says so."""
    if not (args.pids or args.command or args.cgroup or args.user):
        return None
    return TargetSelection(
        pids=list(args.pids),
        children=not args.no_children,
        command=args.command or (),
        cgroup=args.cgroup or "",
        user=args.user or "",
    )


def monitoring_from(
    args: Args,
    config: Monitoring = Monitoring(),  # noqa: B008
) -> Monitoring:
    """How memory is watched: what the command line says of it wins over *config*."""
    given = {name: getattr(args, name) for name in _MONITORING}
    return attrs.evolve(config, **{k: v for k, v in given.items() if v is not None})


def with_given(config: Config, args: Args) -> Config:
    """The configuration of a file with what the command line says, which wins."""
    target = attrs.evolve(config.target, children=False) if args.no_children else config.target
    return attrs.evolve(
        config,
        name=args.name or config.name,
        target=target,
        monitoring=monitoring_from(args, config.monitoring),
    )


def run_service(args: Args, load: Callable[[], Config], *, of_file: bool = True) -> int:
    """Run a service until its end, and show what it has done; the exit code.

    Where *load* reads a file, it does so again at SIGHUP.
    """
    duration_ns = parse_duration_ns(args.duration) if args.duration else None
    if duration_ns == 0:
        raise UsageError("the duration must be longer than 0")
    progress = _Progress()
    service = Service(load, dry_run=args.dry_run, duration_ns=duration_ns, complain=progress.say)
    with StatusFile(service.config.name) as file, service:
        progress.file = file
        service.report = progress.show
        with _signals(service, progress.say, reloads=of_file):
            service.run()
        progress.say("", end="")
        if args.json:
            print_json(progress.last)
        elif progress.last:
            show_wrapped(StatusView(progress.last))
    return service.exit_code


class _Progress:
    """A line on a terminal, rewritten once a second; elsewhere a line when a state changes."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self.file: StatusFile | None = None
        self._terminal = sys.stderr.isatty()
        self._states: list[str] = []

    def show(self, status: dict[str, Any]) -> None:
        if self.file is not None:
            self.file.write(status)
        # Behind the colon are figures, which change all the time.
        states = [scheme["state"].partition(":")[0] for scheme in status["schemes"]]
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            self.say(status_line(status)[: columns - 1], end="")
        elif states != self._states or not self.last:
            self.say(status_line(status))
        self.last, self._states = status, states

    def say(self, text: str, end: str = "\n") -> None:
        """On a terminal, in place of the line that is there."""
        eprint(f"\r\x1b[K{text}" if self._terminal else text, end=end)


@contextmanager
def _signals(service: Service, say: Callable[[str], None], *, reloads: bool) -> Iterator[None]:
    """SIGINT and SIGTERM end it well; SIGHUP too, unless there is a configuration to read again."""

    def hang_up(*_: object) -> None:
        if reloads:
            service.reload()
            return
        say("SIGHUP: there is no configuration file to read again, so this is the end")
        service.stop()

    def stop(*_: object) -> None:
        service.stop()

    show_warnings()
    with handling({signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: hang_up}):
        yield
