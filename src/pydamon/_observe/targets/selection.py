"""Which processes to work on: the one way in which commands, files and Python say that."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from pydamon._model.display import printable
from pydamon._model.errors import TargetError, UsageError
from pydamon._model.plain import shown
from pydamon._model.schemes.fields import count, flag, naming, text
from pydamon._observe.targets.virtual import Members

__all__ = ["TargetSelection"]

_PID_LIMIT = 1 << 31
"""The first number that does not fit into a pid_t."""
_SELECTORS = (
    *("pids", "command"),
    *("name", "user", "cgroup", "unit", "container", "pod", "all_containers"),
)
"""The fields of which exactly one is given."""


def _pids(value: Iterable[int]) -> tuple[int, ...]:
    if isinstance(value, str):
        raise UsageError(f"not a list of pids: {shown(value)}")
    pids = tuple(count(pid) for pid in value)
    wrong = [pid for pid in pids if not 0 < pid < _PID_LIMIT]
    if wrong:
        raise UsageError(
            f"there is no process with pid {wrong[0]}: a pid is a number from 1 to "
            f"{_PID_LIMIT - 1:,}"
        )
    return pids


def _words(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"not a list of words: {shown(value)}")
    return tuple(map(text, value))


@frozen(kw_only=True, field_transformer=naming)
class TargetSelection:
    """Which processes to work on: exactly one parameter but `children` is given.

    `monitor`, `record` and services take it. All but `pids` and `command` select processes as they
    come and go.

    Parameters
    ----------
    pids
        Processes by pid.
    children
        With `pids` and `command`: also the processes that these start.
    command
        A program to start, with its arguments.
    name
        A regular expression that matches a part of the command name, or of the program's file name.
    user
        All processes of a user, by name or number.
    cgroup
        All processes of a cgroup (its path below /sys/fs/cgroup) and of those below it.
    unit
        All processes of a systemd unit, such as ``"postgresql"`` or ``"user.slice"``.
    container
        All processes of a container: its name, NAMESPACE/POD/NAME, its id, or the beginning of
        one of them.
    pod
        All processes of a pod of Kubernetes: NAMESPACE/NAME.
    all_containers
        All processes of all containers.

    Raises
    ------
    UsageError
        For none or several of them.

    Examples
    --------
    >>> from pydamon import TargetSelection
    >>> TargetSelection(pids=[1234], children=False).pids
    (1234,)
    >>> TargetSelection(name="^postgres").is_group
    True
    """

    pids: tuple[int, ...] = field(default=(), converter=_pids)
    children: bool = field(default=True, converter=flag)
    command: tuple[str, ...] = field(default=(), converter=_words)
    name: str = field(default="", converter=text)
    user: str = field(default="", converter=text)
    cgroup: str = field(default="", converter=text)
    unit: str = field(default="", converter=text)
    container: str = field(default="", converter=text)
    pod: str = field(default="", converter=text)
    all_containers: bool = field(default=False, converter=flag)

    def __attrs_post_init__(self) -> None:
        named = [name for name in _SELECTORS if getattr(self, name)]
        if len(named) != 1:
            raise UsageError(
                f"{' and '.join(named)}: name one of them only" if named else "nobody is named",
                hint="name pids, a command, a process name, a user, a cgroup, a unit, a container "
                "or a pod",
            )

    @property
    def is_group(self) -> bool:
        """Whether it selects processes as they come and go."""
        return not (self.pids or self.command)

    def members(self) -> Members:
        """Find what is selected.

        Returns
        -------
        Members
            A function that lists the pids that are selected at the moment of its call.

        Raises
        ------
        TargetError
            For a user, cgroup, unit, container or pod that does not exist, or where several match.
        UsageError
            For a name that is no regular expression, and for a command, which has no pid yet.
        """
        # Containers and pods take time to import, and few ask for them.
        from pydamon._observe.targets import containers, members  # noqa: PLC0415

        if self.command:
            raise UsageError(
                "a command is no running process", hint="pydamon.record starts a program"
            )
        if self.pids:
            return lambda: self.pids
        if self.all_containers:
            return containers.members_of_containers()
        find = {
            "name": members.members_with_name,
            "user": members.members_of_user,
            "cgroup": members.members_of_cgroup,
            "unit": containers.members_of_unit,
            "container": containers.members_of_container,
            "pod": containers.members_of_pod,
        }
        selector = next(name for name in find if getattr(self, name))
        return find[selector](getattr(self, selector))

    def present_members(self) -> Members:
        """As `members`, for those who cannot wait: raises `TargetError` if there is no process."""
        members = self.members()
        if not any(True for _ in members()):
            raise TargetError(
                f"no process is selected by {printable(self.describe())}",
                hint="`ps -e` shows names, `pydamon containers --list --all` containers and units",
            )
        return members

    def describe(self) -> str:
        """What is selected, in words."""
        selector = next(name for name in _SELECTORS if getattr(self, name))
        value = getattr(self, selector)
        if isinstance(value, tuple):
            return f"{selector} {' '.join(map(str, value))}"
        return selector.replace("_", " ") if value is True else f"{selector} {value}"
