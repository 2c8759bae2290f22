"""`pydamon apply`, a command for each policy (`reclaim`, `thp`, ...), and `pydamon status`."""

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
    Choice,
    Command,
    Parsed,
    argument,
    command,
    option,
    percent,
    print_json,
)
from pydamon._cli.options import json_option, service_options
from pydamon._cli.selecting import SELECTION_USAGE, selection_from
from pydamon._model.errors import UsageError
from pydamon._model.schemes.fields import Ns, Share, is_inherited
from pydamon._model.units import format_duration, format_size

if TYPE_CHECKING:
    from pydamon._act.policies import Config, Policy

_USAGE = SELECTION_USAGE.replace("--name", "--process-name")

__all__ = ["apply", "lru_sort", "reclaim", "stat", "status", "thp", "tier"]  # noqa: F822


@command(
    "apply",
    usage=f"[OPTIONS] FILE [{_USAGE}]",
    starts_program=True,
)
@argument(
    "file", type=click.Path(path_type=Path), metavar="FILE", help="schemes, in TOML, JSON or YAML"
)
@argument("pids", nargs=-1, type=int, metavar="[PID]...", help="processes")
@option("--check", is_flag=True, help="read FILE, show what it says, and end")
@service_options
def apply(args: Args) -> int:
    """Apply the schemes of a file to the memory of processes.

    pydamon apply schemes.toml 1234
    pydamon apply --dry-run damo.json -- ./my-program
    pydamon apply service.toml
    pydamon apply --check damo.yaml
    pydamon apply --engine kernel kdamonds.json

    FILE is TOML with tables [[schemes]] or a [policy], or JSON or YAML of damo's. TOML may also
    have tables [target] and [monitoring]; options of the command line override them. With --engine
    kernel, the kernel runs all kdamonds of a file of damo's, of physical memory too. SIGHUP makes
    pydamon read FILE again. The exit code is that of the command if it ended by itself, and 0 if
    pydamon ended it.
    """
    from pydamon._cli.service import run_service

    if args.engine == "kernel" and selection_from(args) is None and _needs_kernel(args.file):
        from pydamon._cli.kernel_service import check_kdamonds, run_kdamonds

        return check_kdamonds(args) if args.check else run_kdamonds(args)
    if args.check:
        return _check(args)
    return run_service(args, lambda: _load_schemes(args))


def _needs_kernel(path: Path) -> bool:
    """Whether a file is a configuration of damo's that only the kernel can carry out."""
    from pydamon._act.schemes.damo_kdamonds import needs_kernel
    from pydamon._act.schemes.toml import load

    root = load(path)
    return root.syntax != "TOML" and needs_kernel(root)


def _check(args: Args) -> int:
    """Show what a file says: it must be sound, but needs to name no targets."""
    from pydamon._act.policies import POLICIES, TargetSelection, load_config
    from pydamon._act.policies.config import names_targets
    from pydamon._cli.service import with_given
    from pydamon._cli.streams import show_wrapped
    from pydamon._show.results.config import ConfigView

    if args.json:
        raise UsageError("--check has no JSON: its exit code says whether the file is sound")
    target = selection_from(args)
    is_named = target is not None or names_targets(args.file)
    if not is_named:
        target = TargetSelection(command=["any"])  # a configuration has targets
    config = with_given(load_config(args.file, POLICIES, target=target), args)
    show_wrapped(ConfigView(str(args.file), config, config.target if is_named else None))
    return 0


def _load_schemes(args: Args) -> Config:
    from pydamon._act.policies import POLICIES, load_config
    from pydamon._cli.service import with_given

    return with_given(load_config(args.file, POLICIES, target=selection_from(args)), args)


_POLICIES = {
    "reclaim": "Reclaim",
    "thp": "Thp",
    "lru_sort": "LruSort",
    "tier": "Tier",
    "stat": "Stat",
}


def _value(text: str) -> int | float | str:
    """Parse a number, or return the text, which the field of the policy will parse."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _policy_command(kind: type[Policy]) -> Command:
    """Make the command of a policy: its options are the policy's parameters."""

    def run(args: Args) -> int:
        from pydamon._cli.service import run_service

        parameters = _parameters_from(kind, args)
        load = _load_policy if args.config else _config
        return run_service(args, lambda: load(kind, args, parameters), of_file=bool(args.config))

    # The sections of the docstring are for Python: the options say the same.
    run.__doc__ = re.split(r"\n\n\w+\n-+\n", inspect.cleandoc(kind.__doc__ or ""))[0]
    run = service_options(run)
    for field in reversed(_fields(kind)):
        run = _option(field)(run)
    run = option(
        "--config",
        metavar="FILE",
        help="read this file, and again at SIGHUP; other options override it",
    )(run)
    run = argument("pids", nargs=-1, type=int, metavar="PID...", help="processes")(run)
    return command(
        kind.name,
        usage=f"[OPTIONS] ({_USAGE} | --config FILE)",
        starts_program=True,
    )(run)


def _option(field: attrs.Attribute[Any]) -> Any:
    """Make the option of a parameter."""
    flag = f"--{str(field.alias).replace('_', '-')}"
    text = f"{_lower(field.metadata['help'])} (default: {_format_default(field)})"
    if field.default is False:
        return option(flag, is_flag=True, help=text)
    if "choices" in field.metadata:
        return option(flag, type=Choice(field.metadata["choices"]), help=text)
    if field.metadata.get("percent"):
        return option(flag, type=percent, metavar="PERCENT", help=text)
    return option(flag, type=Parsed(_value), metavar="VALUE", help=text)


def _parameters_from(kind: type[Policy], args: Args) -> dict[str, Any]:
    """Return the parameters that the command line sets."""
    parameters: dict[str, Any] = {}
    for field in _fields(kind):
        value = getattr(args, str(field.alias))
        if value is None or value is False:
            continue
        parameters[str(field.alias)] = f"{value:g}%" if field.metadata.get("percent") else value
    return parameters


def _config(kind: type[Policy], args: Args, parameters: dict[str, Any]) -> Config:
    from pydamon._act.policies import Config, TargetSelection
    from pydamon._cli.service import monitoring_from

    policy = kind(**parameters)
    return Config(
        name=args.name or kind.name,
        target=selection_from(args) or TargetSelection(),
        monitoring=monitoring_from(args),
        policy=policy,
        schemes=policy.schemes(),
    )


def _load_policy(kind: type[Policy], args: Args, parameters: dict[str, Any]) -> Config:
    from pydamon._act.policies import POLICIES, load_config
    from pydamon._cli.service import with_given

    config = load_config(args.config, POLICIES, target=selection_from(args))
    if not isinstance(config.policy, kind):
        raise UsageError(f"{args.config} is not a configuration of {kind.name}")
    policy = attrs.evolve(config.policy, **parameters)  # type: ignore[misc]
    return attrs.evolve(with_given(config, args), policy=policy, schemes=policy.schemes())


def _fields(kind: type[Policy]) -> list[attrs.Attribute[Any]]:
    """List the parameters of a policy: its own, then the parameters of all policies."""
    fields = [f for f in attrs.fields(kind) if "help" in f.metadata]  # type: ignore[arg-type]
    return sorted(fields, key=is_inherited)


def _format_default(field: attrs.Attribute[Any]) -> str:
    default: Any = field.default
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
    """Make the command of a policy on first use, because policies are slow to import."""
    if name not in _POLICIES:
        raise AttributeError(name)
    kind: type[Policy] = getattr(policies, _POLICIES[name])
    return _policy_command(kind)


@command("status")
@argument("names", nargs=-1, metavar="[NAME]...", help="only the services of these names")
@json_option
def status(args: Args) -> int:
    """Show the running services (`apply`, `reclaim`, `thp`, ...)."""
    from pydamon._act.policies import read_statuses
    from pydamon._cli.streams import show_wrapped
    from pydamon._show.results.schemes import StatusView

    statuses = read_statuses()
    for name in args.names:
        if name not in statuses:
            running = ", ".join(statuses) or "none"
            raise UsageError(f"no service named {name!r} is running", hint=f"running: {running}")
    selected = {name: statuses[name] for name in args.names or statuses}
    if args.json:
        print_json(selected)
        return 0
    if not selected:
        print("no service is running")
    for status in selected.values():
        show_wrapped(StatusView(status))
    return 0
