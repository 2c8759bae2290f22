"""The configuration of a service: whose memory, how it is watched, and what is done about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from pydamon.core.attrs import Attrs
from pydamon.core.errors import UsageError
from pydamon.engine.open import check_budget
from pydamon.policies.base import Policy
from pydamon.schemes import Scheme
from pydamon.schemes.fields import all_of, flag, naming, one_of, text
from pydamon.schemes.reading import from_plain, load_toml

__all__ = ["Config", "Monitoring", "Whom", "load_config"]


def _pids(value: Iterable[int]) -> tuple[int, ...]:
    return all_of(int, value)


def _words(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"not a list of words: {value!r}")
    return all_of(str, value)


@frozen(kw_only=True, field_transformer=naming)
class Whom:
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


@frozen(kw_only=True)
class Monitoring:
    """How accesses are watched: as in `pydamon.monitor`, but not by the kernel unless asked to.

    For pydamon reads back what was done and has a guard, which the kernel does not; and a service
    runs for long, while the kernel's DAMON has one user at a time.
    """

    engine: str = field(default="sampling", converter=_engine)
    sample: str | None = None
    aggr: str | None = None
    update: str | None = None
    min_regions: int | None = None
    max_regions: int | None = None
    cpu_budget_percent: float = 1.0

    def __attrs_post_init__(self) -> None:
        try:
            one_of(self.engine, ("sampling", "kernel"))
        except UsageError as error:
            raise UsageError(f"engine: {error}", hint=error.hint) from None
        Attrs.of(self.sample, self.aggr, self.update, self.min_regions, self.max_regions)
        check_budget(self.cpu_budget_percent)


@frozen(kw_only=True)
class Config:
    """What a service does. `schemes` are those of the `policy`, where there is one."""

    name: str
    target: Whom
    monitoring: Monitoring = Monitoring()
    policy: Policy | None = None
    schemes: tuple[Scheme, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise UsageError(f"name: cannot be the name of a file: {self.name!r}")


def load_config(
    path: str | Path, policies: dict[str, type[Policy]], *, target: Whom | None = None
) -> Config:
    """The configuration in a TOML file: `[target]`, `[monitoring]`, and what is to be done.

    That is a table `[policy]` with its `name` and its parameters, or tables `[[schemes]]`. `name`
    is that of the status; without it, it is the policy's, or the file's. A *target* replaces that
    of the file. Raises `UsageError` for what is wrong, and says where it is.
    """
    data = load_toml(path)
    known = ("name", "target", "monitoring", "policy", "schemes")
    for key in data:
        if key not in known:
            raise UsageError(f"{path}: {key}: not known", hint=f"there are {', '.join(known)}")
    if ("policy" in data) == ("schemes" in data):
        raise UsageError(f"{path}: say either [policy] or [[schemes]]")
    try:
        policy, name = None, Path(path).stem
        if "policy" in data:
            policy = _policy(data["policy"], policies, f"{path}: policy")
            schemes, name = policy.schemes(), policy.name
        else:
            schemes = from_plain(tuple[Scheme, ...], data["schemes"], f"{path}: schemes")
        return Config(
            name=data.get("name", name),
            target=target or from_plain(Whom, data.get("target", {}), f"{path}: target"),
            monitoring=from_plain(Monitoring, data.get("monitoring", {}), f"{path}: monitoring"),
            policy=policy,
            schemes=schemes,
        )
    except UsageError as error:
        prefix = "" if str(error).startswith(str(path)) else f"{path}: "
        raise UsageError(f"{prefix}{error}", hint=error.hint) from None


def _policy(data: Any, policies: dict[str, type[Policy]], where: str) -> Policy:
    if not isinstance(data, dict) or data.get("name") not in policies:
        names = ", ".join(policies)
        raise UsageError(f"{where}.name: names no policy", hint=f"choose from {names}")
    parameters = {key: value for key, value in data.items() if key != "name"}
    return from_plain(policies[data["name"]], parameters, where)
