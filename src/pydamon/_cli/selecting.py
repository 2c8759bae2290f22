"""Options that say which processes to work on: the same in every command."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydamon._cli.command import Args, option, options
from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from pydamon._observe.targets.selection import TargetSelection

__all__ = ["RUNNING_USAGE", "SELECTION_USAGE", "selection_from", "selection_options"]

F = TypeVar("F", bound=Callable[..., Any])

RUNNING_USAGE = "PID... | --name REGEX | --container NAME | ..."
SELECTION_USAGE = RUNNING_USAGE.replace("PID... |", "PID... | -- COMMAND... |")

_FIELDS = {
    "process_name": "name",
    "user": "user",
    "cgroup": "cgroup",
    "unit": "unit",
    "container": "container",
    "pod": "pod",
    "all_containers": "all_containers",
}
"""Fields of `TargetSelection` by the argument that gives them."""


def selection_options(
    *, name_is_taken: bool = False, cgroup_help: str = "all processes of a cgroup"
) -> Callable[[F], F]:
    """Make the options; where `--name` *is taken*, names of processes have `--process-name` only.

    All of them select processes as they start and end.
    """
    name_flags = ("--process-name",) if name_is_taken else ("--name", "--process-name")
    return options(
        option(
            *name_flags,
            "process_name",
            metavar="REGEX",
            help="all processes whose command name, or whose program's file name, matches",
        ),
        option("--user", metavar="NAME", help="all processes of a user"),
        option("--cgroup", metavar="NAME", help=cgroup_help),
        option("--unit", metavar="NAME", help="all processes of a systemd service, scope or slice"),
        option(
            "--container",
            metavar="NAME",
            help="all processes of a container, by its name, NAMESPACE/POD/NAME, or its id; the "
            "beginning of one will do (`pydamon containers --list` shows them)",
        ),
        option("--pod", metavar="NAMESPACE/NAME", help="all processes of a pod of Kubernetes"),
        option("--all-containers", is_flag=True, help="all processes of all containers"),
        option(
            "--host-root",
            metavar="DIR",
            help="where the host's file system is mounted, for a pydamon in a container (default: "
            "PYDAMON_HOST_ROOT, or /)",
        ),
    )


def selection_from(args: Args) -> TargetSelection | None:
    """Return the processes that a command line names, by whatever option; `None` for none.

    Raises `UsageError` if several options name some, for an empty name, and for a `--host-root`
    that is no directory.
    """
    from pydamon._observe.linux.host import HOST_ROOT
    from pydamon._observe.targets.selection import TargetSelection

    if args.host_root:
        if not Path(args.host_root).is_dir():
            raise UsageError(f"--host-root is no directory: {args.host_root}")
        os.environ[HOST_ROOT] = args.host_root

    values = {field: getattr(args, name) for name, field in _FIELDS.items()}
    # An empty name, as of a shell's variable that is not set, must not select what else is meant.
    given = {field: value for field, value in values.items() if value not in (None, False)}
    if getattr(args, "pids", ()):
        given["pids"] = args.pids
    if args.command:
        given["command"] = args.command
    if not given:
        return None
    return TargetSelection(children=not getattr(args, "no_children", False), **given)
