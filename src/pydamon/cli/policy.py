"""`pydamon reclaim`, `thp`, `lru-sort`, `tier`, `stat`: a policy as a command."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

import attrs

from pydamon.cli.service import (
    add_service_arguments,
    monitoring_from,
    run_service,
    target_from,
    with_given,
)
from pydamon.core.errors import UsageError
from pydamon.core.units import format_duration, format_size
from pydamon.policies import (
    POLICIES,
    Config,
    LruSort,
    Policy,
    Reclaim,
    Stat,
    Thp,
    Tier,
    Whom,
    load_config,
)
from pydamon.schemes.fields import Ns, is_inherited

__all__ = [
    "LruSortCommand",
    "PolicyCommand",
    "ReclaimCommand",
    "StatCommand",
    "ThpCommand",
    "TierCommand",
]


class PolicyCommand:
    """A command for one policy, whose options are the policy's parameters."""

    name: str
    _kind: type[Policy]

    def __init_subclass__(cls, kind: type[Policy]) -> None:
        cls.name, cls._kind = kind.name, kind
        cls.__doc__ = inspect.cleandoc(kind.__doc__ or "")

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the parameters, and whose memory is meant."""
        targets = "(PID... | -- COMMAND... | --cgroup NAME | --user NAME | --config FILE)"
        parser.usage = f"pydamon {self.name} [OPTIONS] {targets}"
        parser.add_argument(
            "pids", nargs="*", type=int, default=[], metavar="PID", help="processes"
        )
        parser.add_argument(
            "--config",
            metavar="FILE",
            help="read this file, again at SIGHUP; what the command line says as well wins",
        )
        for one in self._parameters():
            flag = f"--{str(one.alias).replace('_', '-')}"
            text = f"{_lower(one.metadata['help'])} (default: {_shown(one.default)})"
            if one.default is False:
                parser.add_argument(flag, action="store_const", const=True, help=text)
            else:
                parser.add_argument(
                    flag, type=_value, metavar="VALUE", help=text.replace("%", "%%")
                )
        add_service_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Run until the targets are gone, the time is up, or somebody presses Ctrl-C."""
        given = {str(one.alias): getattr(args, str(one.alias)) for one in self._parameters()}
        given = {name: value for name, value in given.items() if value is not None}
        load = self._load if args.config else self._config
        return run_service(args, lambda: load(args, given), of_file=bool(args.config))

    def _config(self, args: argparse.Namespace, given: dict[str, Any]) -> Config:
        policy = self._kind(**given)
        return Config(
            name=args.name or self.name,
            target=target_from(args) or Whom(),
            monitoring=monitoring_from(args),
            policy=policy,
            schemes=policy.schemes(),
        )

    def _load(self, args: argparse.Namespace, given: dict[str, Any]) -> Config:
        config = load_config(args.config, POLICIES, target=target_from(args))
        if not isinstance(config.policy, self._kind):
            raise UsageError(f"{args.config} is not about {self.name}")
        policy = attrs.evolve(config.policy, **given)  # type: ignore[misc]
        return attrs.evolve(with_given(config, args), policy=policy, schemes=policy.schemes())

    def _parameters(self) -> list[attrs.Attribute[Any]]:
        """Its own first, then those that it shares with others."""
        fields = [f for f in attrs.fields(self._kind) if "help" in f.metadata]  # type: ignore[arg-type]
        return sorted(fields, key=is_inherited)


class ReclaimCommand(PolicyCommand, kind=Reclaim): ...


class ThpCommand(PolicyCommand, kind=Thp): ...


class LruSortCommand(PolicyCommand, kind=LruSort): ...


class TierCommand(PolicyCommand, kind=Tier): ...


class StatCommand(PolicyCommand, kind=Stat): ...


def _value(text: str) -> int | float | str:
    """A number, if it is one: the fields of a policy look at the rest."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _shown(default: object) -> str:
    if isinstance(default, Ns):
        return format_duration(default)
    if isinstance(default, int) and default >= 1 << 20:
        return format_size(default)
    return "no" if default is False else str(default)


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
