"""The configuration of a service: which processes, how they are monitored, and which schemes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen

from pydamon._act.policies.base import Policy
from pydamon._act.policies.lru_sort import LruSort
from pydamon._act.policies.reclaim import Reclaim
from pydamon._act.policies.stat import Stat
from pydamon._act.policies.thp import Thp
from pydamon._act.policies.tier import Tier
from pydamon._act.schemes.damo import read_damo
from pydamon._act.schemes.toml import build, build_all, load
from pydamon._model.attrs import IntervalGoal
from pydamon._model.errors import UsageError
from pydamon._model.plain import Node, near, shown
from pydamon._model.schemes import Scheme
from pydamon._model.schemes.fields import (
    all_of,
    duration_ns,
    naming,
    one_of,
    optional_count,
    text,
)
from pydamon._observe.options import MonitorOptions, check_budget
from pydamon._observe.targets.selection import TargetSelection

__all__ = ["POLICIES", "Config", "Monitoring", "TargetSelection", "load_config", "names_targets"]

_MAX_NAME_BYTES = 200


def _engine(value: str) -> str:
    return one_of(value, ("sampling", "kernel"))


def _interval(value: str | None) -> str | None:
    if value is not None:
        duration_ns(value)
    return value


def _budget(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"not a CPU budget: {shown(value)}")
    check_budget(value)
    return value


def _goal(value: IntervalGoal | None) -> IntervalGoal | None:
    return None if value is None else all_of(IntervalGoal, (value,))[0]


@frozen(kw_only=True, field_transformer=naming)
class Monitoring:
    """How a service monitors: an engine, and the `MonitorOptions` that configuration files have.

    The default engine is sampling, not ``"auto"``: pydamon verifies what a scheme did and has a
    guard, and the kernel's DAMON has one user at a time, while a service runs for long.

    Parameters
    ----------
    engine
        ``"sampling"`` or ``"kernel"``.
    sample, aggr, update, min_regions, max_regions, cpu_budget_percent, refresh, goal
        As in `MonitorOptions`; `goal` comes from damo's files only.

    Raises
    ------
    UsageError
        For a value that makes no sense, alone or together with the others.

    Examples
    --------
    >>> from pydamon.policies import Monitoring
    >>> Monitoring(aggr="1s", cpu_budget_percent=2).options.attrs.aggregation_ns
    1000000000
    """

    engine: str = field(default="sampling", converter=_engine)
    sample: str | None = field(default=None, converter=_interval)
    aggr: str | None = field(default=None, converter=_interval)
    update: str | None = field(default=None, converter=_interval)
    min_regions: int | None = field(default=None, converter=optional_count)
    max_regions: int | None = field(default=None, converter=optional_count)
    cpu_budget_percent: float = field(default=1.0, converter=_budget)
    refresh: str | None = field(default=None, converter=_interval)
    goal: IntervalGoal | None = field(default=None, converter=_goal, metadata={"in_files": False})

    def __attrs_post_init__(self) -> None:
        if self.options.kernel_only and self.engine != "kernel":
            raise UsageError(
                f"{self.options.kernel_only[0]} is for the kernel's DAMON",
                hint='leave it out, or use engine = "kernel"',
            )

    @property
    def options(self) -> MonitorOptions:
        """The options for `monitor`."""
        values = asdict(self, recurse=False)
        del values["engine"]
        return MonitorOptions(**values)


def _name(value: str) -> str:
    value = text(value)
    wrong = "/" in value or value.startswith(".") or not value.isprintable()
    if not value or wrong or len(value.encode(errors="replace")) > _MAX_NAME_BYTES:
        raise UsageError(f"cannot be the name of a file: {shown(value)}")
    return value


@frozen(kw_only=True, field_transformer=naming)
class Config:
    """What a service does.

    Parameters
    ----------
    name
        What `pydamon status` calls the service.
    target
        The processes.
    monitoring
        How they are monitored.
    policy
        The policy whose schemes are applied, if they are a policy's.
    schemes
        The schemes.

    Examples
    --------
    >>> from pydamon.policies import Config, Reclaim, TargetSelection
    >>> policy = Reclaim(min_age="5min")
    >>> config = Config(
    ...     name="db", target=TargetSelection(user="postgres"), policy=policy,
    ...     schemes=policy.schemes(),
    ... )
    >>> config.schemes[0].action
    'pageout'
    """

    name: str = field(converter=_name)
    target: TargetSelection
    monitoring: Monitoring = Monitoring()
    policy: Policy | None = None
    schemes: tuple[Scheme, ...] = ()


def _stem(file: str) -> str:
    """The name of a service that has none: that of its file, without characters unfit for it."""
    name = "".join(char if char.isprintable() else "_" for char in Path(file).stem)
    return name.lstrip(".")[: _MAX_NAME_BYTES // 4] or "schemes"


def load_config(
    path: str | Path, policies: dict[str, type[Policy]], *, target: TargetSelection | None = None
) -> Config:
    """Read a configuration file.

    Parameters
    ----------
    path
        TOML with tables ``[target]`` and ``[monitoring]``, and either a ``[policy]`` (its `name`
        and its parameters) or ``[[schemes]]``; `name` is the service's (default: the policy's, or
        the file's). Or damo's JSON or YAML, as `read_damo_schemes` reads it, with its intervals and
        processes.
    policies
        The policies by name, usually `POLICIES`.
    target
        Processes that take the place of the file's.

    Returns
    -------
    Config
        What the file says.

    Raises
    ------
    UsageError
        For what is wrong; the message begins with the place.
    """
    root = load(path)
    if root.syntax != "TOML":
        return _of_damo(root, target)
    tables = root.table(("name", "target", "monitoring", "policy", "schemes"))
    if ("policy" in tables) == ("schemes" in tables):
        raise root.error("say either [policy] or [[schemes]]")
    policy, name = None, _stem(root.file)
    if "policy" in tables:
        policy = _policy(tables["policy"], policies)
        name = policy.name
        try:
            schemes = policy.schemes()
        except UsageError as error:
            raise tables["policy"].error(str(error), hint=error.hint) from None
    else:
        schemes = tuple(build_all(Scheme, tables["schemes"]))
    named = tables.get("name", root.of(name, "name"))
    empty = Node({}, root.file)
    return Config(
        name=named.read(_name),
        target=target or build(TargetSelection, tables.get("target", empty.of({}, "target"))),
        monitoring=build(Monitoring, tables.get("monitoring", empty)),
        policy=policy,
        schemes=schemes,
    )


def names_targets(path: str | Path) -> bool:
    """Whether a configuration file names the processes that it is for; raises as `load_config`."""
    root = load(path)
    if root.syntax != "TOML":
        return bool(read_damo(root).pids)
    return "target" in root.value


def _policy(node: Node, policies: dict[str, type[Policy]]) -> Policy:
    if not isinstance(node.value, dict):
        raise node.error(f"not a table of settings: {shown(node.value)}")
    name = node.value.get("name")
    if not isinstance(name, str) or name not in policies:
        names = ", ".join(policies)
        like = near(name, policies) if isinstance(name, str) else ""
        raise node.of(name, "name").error(
            f"names no policy: {shown(name)}{like}", hint=f"choose from {names}"
        )
    return build(policies[name], node, passed=("name",))


def _of_damo(root: Node, target: TargetSelection | None) -> Config:
    damo = read_damo(root)
    if target is None and not damo.pids:
        raise root.error(
            "no process is named in it",
            hint="name pids, a command, --process-name, --user, --cgroup, --unit, --container or "
            "--pod as well; or, for physical memory, --engine kernel",
        )
    intervals: dict[str, Any] = {name: f"{ns}ns" for name, ns in damo.intervals_ns.items()}
    try:
        monitoring = Monitoring(
            **intervals, min_regions=damo.min_regions, max_regions=damo.max_regions, goal=damo.goal
        )
    except UsageError as error:
        raise root.error(str(error), hint=error.hint) from None
    return Config(
        name=_stem(root.file),
        target=target or TargetSelection(pids=damo.pids),
        monitoring=monitoring,
        schemes=damo.schemes,
    )


_TYPES: tuple[type[Policy], ...] = (Reclaim, Thp, LruSort, Tier, Stat)
POLICIES = {kind.name: kind for kind in _TYPES}
"""Every policy by name."""
