"""`pydamon status`: what the services that run now are doing."""

from __future__ import annotations

from pydamon.cli.command import Args, argument, command, option, print_json
from pydamon.core.errors import UsageError

__all__ = ["status"]


@command("status")
@argument("names", nargs=-1, metavar="[NAME]...", help="only these")
@option("--json", is_flag=True, help="as JSON, for programs")
def status(args: Args) -> int:
    """Show what `apply` and the policies (`reclaim`, `thp`, ...) that run now are doing."""
    from pydamon.cli.screen import show_wrapped
    from pydamon.policies import read_statuses
    from pydamon.views.schemes import status_report

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
        show_wrapped(status_report(one))
    return 0
