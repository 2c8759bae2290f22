"""The configuration of a service: whose memory, how it is watched, and which policies run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from pydamon._act.policies.base import Policy
from pydamon._act.policies.lru_sort import LruSort
from pydamon._act.policies.reclaim import Reclaim
from pydamon._act.policies.stat import Stat
from pydamon._act.policies.thp import Thp
from pydamon._act.policies.tier import Tier
from pydamon._act.schemes.damo import read_damo
from pydamon._act.schemes.toml import build, build_all, load
from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.errors import UsageError
from pydamon._model.plain import Node, near, shown
from pydamon._model.schemes import Scheme
from pydamon._model.schemes.fields import (
    all_of,
    count,
    duration_ns,
    flag,
    naming,
    one_of,
    optional_count,
    text,
)
from pydamon._observe.sampling.open import check_budget

__all__ = ["POLICIES", "Config", "Monitoring", "TargetSelection", "load_config"]

_PIDS = 1 << 31
"""What does not fit into a pid_t."""
_LONGEST_NAME = 200


def _pids(value: Iterable[int]) -> tuple[int, ...]:
    if isinstance(value, str):
        raise UsageError(f"not a list of pids: {shown(value)}")
    pids = tuple(count(pid) for pid in value)
    if not all(0 < pid < _PIDS for pid in pids):
        raise UsageError(f"a pid is a number from 1 to {_PIDS - 1:,}")
    return pids


def _words(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"not a list of words: {shown(value)}")
    return tuple(map(text, value))


@frozen(kw_only=True, field_transformer=naming)
class TargetSelection:
    """The processes that are meant: by one of these.

    `pids`, with the processes that they start, unless `children` is false; a `command` to start;
    all of a `cgroup` (its path below /sys/fs/cgroup) or of a `user`, as they come and go.
    """

    pids: tuple[int, ...] = field(default=(), converter=_pids)
    children: bool = field(default=True, converter=flag)
    command: tuple[str, ...] = field(default=(), converter=_words)
    cgroup: str = field(default="", converter=text)
    user: str = field(default="", converter=text)

    def __attrs_post_init__(self) -> None:
        named = [n for n in ("pids", "command", "cgroup", "user") if getattr(self, n)]
        if len(named) != 1:
            raise UsageError(
                f"{' and '.join(named)}: name one of them only" if named else "nobody is named",
                hint="name pids, a command, a cgroup, or a user",
            )


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
    """How accesses are watched: as in `pydamon.monitor`, but not by the kernel unless asked to.

    For pydamon reads back what was done and has a guard, which the kernel does not; and a service
    runs for long, while the kernel's DAMON has one user at a time.
    """

    engine: str = field(default="sampling", converter=_engine)
    sample: str | None = field(default=None, converter=_interval)
    aggr: str | None = field(default=None, converter=_interval)
    update: str | None = field(default=None, converter=_interval)
    min_regions: int | None = field(default=None, converter=optional_count)
    max_regions: int | None = field(default=None, converter=optional_count)
    cpu_budget_percent: float = field(default=1.0, converter=_budget)
    goal: IntervalGoal | None = field(default=None, converter=_goal, metadata={"in_files": False})

    def __attrs_post_init__(self) -> None:
        Attrs.of(self.sample, self.aggr, self.update, self.min_regions, self.max_regions)


def _name(value: str) -> str:
    value = text(value)
    wrong = "/" in value or value.startswith(".") or not value.isprintable()
    if not value or wrong or len(value.encode(errors="replace")) > _LONGEST_NAME:
        raise UsageError(f"cannot be the name of a file: {shown(value)}")
    return value


@frozen(kw_only=True, field_transformer=naming)
class Config:
    """What a service does. `schemes` are those of the `policy`, where there is one."""

    name: str = field(converter=_name)
    target: TargetSelection
    monitoring: Monitoring = Monitoring()
    policy: Policy | None = None
    schemes: tuple[Scheme, ...] = ()


def _stem(file: str) -> str:
    """What to call a service that has no name: as its file, as far as that is fit for a name."""
    name = "".join(char if char.isprintable() else "_" for char in Path(file).stem)
    return name.lstrip(".")[: _LONGEST_NAME // 4] or "schemes"


def load_config(
    path: str | Path, policies: dict[str, type[Policy]], *, target: TargetSelection | None = None
) -> Config:
    """The configuration in a file: TOML of pydamon's, or JSON of damo's.

    In TOML there are `[target]`, `[monitoring]`, and what is to be done: a table `[policy]` with
    its `name` and its parameters, or tables `[[schemes]]`. `name` is that of the status; without
    it, it is the policy's, or the file's. JSON is as `read_damo_schemes` takes it; its intervals
    and processes are taken, too. A *target* replaces that of the file. Raises `UsageError` for
    what is wrong, and says where it is.
    """
    root = load(path)
    if root.is_json:
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
    found = read_damo(root)
    if target is None and not found.pids:
        raise root.error(
            "no process is named in it", hint="name pids, a command, --cgroup or --user as well"
        )
    given: dict[str, Any] = {name: f"{ns}ns" for name, ns in found.intervals_ns.items()}
    try:
        monitoring = Monitoring(
            **given, min_regions=found.min_regions, max_regions=found.max_regions, goal=found.goal
        )
    except UsageError as error:
        raise root.error(str(error), hint=error.hint) from None
    return Config(
        name=_stem(root.file),
        target=target or TargetSelection(pids=found.pids),
        monitoring=monitoring,
        schemes=found.schemes,
    )


_TYPES: tuple[type[Policy], ...] = (Reclaim, Thp, LruSort, Tier, Stat)
POLICIES = {kind.name: kind for kind in _TYPES}
"""Every policy by name."""
