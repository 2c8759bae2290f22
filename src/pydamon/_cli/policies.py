"""`pydamon apply`, a policy as a command (`reclaim`, `thp`, ...), and `pydamon status`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from pydamon._act import policies
from pydamon._cli.command import (
    Args,
    Command,
    Parsed,
    argument,
    command,
    option,
    percent,
    print_json,
)
from pydamon._cli.options import service_options
from pydamon._model.errors import UsageError
from pydamon._model.schemes.fields import Ns, Share, is_inherited
from pydamon._model.units import format_duration, format_size

if TYPE_CHECKING:
    from pydamon._act.policies import Config, Policy

__all__ = ["apply", "lru_sort", "reclaim", "stat", "status", "thp", "tier"]  # noqa: F822


@command(
    "apply",
    usage="[OPTIONS] FILE [PID... | -- COMMAND... | --cgroup NAME | --user NAME]",
    starts_program=True,
)
@argument("file", type=click.Path(path_type=Path), metavar="FILE", help="schemes, as TOML or JSON")
@argument("pids", nargs=-1, type=int, metavar="[PID]...", help="processes")
@service_options
def apply(args: Args) -> int:
    """Apply the schemes of a file to the memory of processes.

    pydamon apply schemes.toml 1234
    pydamon apply --dry-run damo.json -- ./my-program
    pydamon apply service.toml

    FILE is TOML with tables [[schemes]] or a [policy], or JSON as damo has it. TOML may have tables
    [target] and [monitoring], too; what the command line says wins. It is read again at SIGHUP.
    """
    from pydamon._cli.service import run_service

    return run_service(args, lambda: _load_schemes(args))


def _load_schemes(args: Args) -> Config:
    from pydamon._act.policies import POLICIES, load_config
    from pydamon._cli.service import target_from, with_given

    return with_given(load_config(args.file, POLICIES, target=target_from(args)), args)


_POLICIES = {
    "reclaim": "Reclaim",
    "thp": "Thp",
    "lru_sort": "LruSort",
    "tier": "Tier",
    "stat": "Stat",
}


def _value(text: str) -> int | float | str:
    """A number, if it is one: the fields of a policy look at the rest."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _policy_command(kind: type[Policy]) -> Command:
    """A command for one policy, whose options are the policy's parameters."""

    def run(args: Args) -> int:
        from pydamon._cli.service import run_service

        given = _given(kind, args)
        load = _load_policy if args.config else _config
        return run_service(args, lambda: load(kind, args, given), of_file=bool(args.config))

    # The sections of the docstring are for Python: the options say the same.
    run.__doc__ = re.split(r"\n\n\w+\n-+\n", inspect.cleandoc(kind.__doc__ or ""))[0]
    run = service_options(run)
    for one in reversed(_parameters(kind)):
        run = _option(one)(run)
    run = option(
        "--config",
        metavar="FILE",
        help="read this file, again at SIGHUP; what the command line says as well wins",
    )(run)
    run = argument("pids", nargs=-1, type=int, metavar="PID...", help="processes")(run)
    return command(
        kind.name,
        usage="[OPTIONS] (PID... | -- COMMAND... | --cgroup NAME | --user NAME | --config FILE)",
        starts_program=True,
    )(run)


def _option(one: attrs.Attribute[Any]) -> Any:
    """The option of one parameter."""
    flag = f"--{str(one.alias).replace('_', '-')}"
    text = f"{_lower(one.metadata['help'])} (default: {_shown(one)})"
    if one.default is False:
        return option(flag, is_flag=True, help=text)
    if one.metadata.get("percent"):
        return option(flag, type=percent, metavar="PERCENT", help=text)
    return option(flag, type=Parsed(_value), metavar="VALUE", help=text)


def _given(kind: type[Policy], args: Args) -> dict[str, Any]:
    """The parameters that the command line names."""
    given: dict[str, Any] = {}
    for one in _parameters(kind):
        value = getattr(args, str(one.alias))
        if value is None or value is False:
            continue
        given[str(one.alias)] = f"{value:g}%" if one.metadata.get("percent") else value
    return given


def _config(kind: type[Policy], args: Args, given: dict[str, Any]) -> Config:
    from pydamon._act.policies import Config, TargetSelection
    from pydamon._cli.service import monitoring_from, target_from

    policy = kind(**given)
    return Config(
        name=args.name or kind.name,
        target=target_from(args) or TargetSelection(),
        monitoring=monitoring_from(args),
        policy=policy,
        schemes=policy.schemes(),
    )


def _load_policy(kind: type[Policy], args: Args, given: dict[str, Any]) -> Config:
    from pydamon._act.policies import POLICIES, load_config
    from pydamon._cli.service import target_from, with_given

    config = load_config(args.config, POLICIES, target=target_from(args))
    if not isinstance(config.policy, kind):
        raise UsageError(f"{args.config} is not about {kind.name}")
    policy = attrs.evolve(config.policy, **given)  # type: ignore[misc]
    return attrs.evolve(with_given(config, args), policy=policy, schemes=policy.schemes())


def _parameters(kind: type[Policy]) -> list[attrs.Attribute[Any]]:
    """Its own first, then those that it shares with others."""
    fields = [f for f in attrs.fields(kind) if "help" in f.metadata]  # type: ignore[arg-type]
    return sorted(fields, key=is_inherited)


def _shown(one: attrs.Attribute[Any]) -> str:
    default: Any = one.default
    if isinstance(default, Share):
        return f"{100 * default:g}%"
    if isinstance(default, Ns):
        return format_duration(default)
    if isinstance(default, int) and default >= 1 << 20:
        return format_size(default)
    return "no" if default is False else str(default)


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def __getattr__(name: str) -> Command:
    """The command of a policy, made when it is asked for: each policy takes its time to import."""
    if name not in _POLICIES:
        raise AttributeError(name)
    kind: type[Policy] = getattr(policies, _POLICIES[name])
    return _policy_command(kind)


@command("status")
@argument("names", nargs=-1, metavar="[NAME]...", help="only these")
@option("--json", is_flag=True, help="as JSON, for programs")
def status(args: Args) -> int:
    """Show what `apply` and the policies (`reclaim`, `thp`, ...) that run now are doing."""
    from pydamon._act.policies import read_statuses
    from pydamon._cli.screen import show_wrapped
    from pydamon._show.results.service import StatusView

    found = read_statuses()
    for name in args.names:
        if name not in found:
            known = ", ".join(found) or "none"
            raise UsageError(f"no service named {name!r} is running", hint=f"there is {known}")
    chosen = {name: found[name] for name in args.names or found}
    if args.json:
        print_json(chosen)
        return 0
    if not chosen:
        print("no service is running")
    for one in chosen.values():
        show_wrapped(StatusView(one))
    return 0
