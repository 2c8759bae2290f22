"""`pydamon status`: what the services that run now are doing."""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console

from pydamon.core.errors import UsageError
from pydamon.policies import read_statuses
from pydamon.views.schemes import status_report

__all__ = ["Status"]


class Status:
    """Show what `apply` and the policies (`reclaim`, `thp`, ...) that run now are doing."""

    name = "status"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which ones, and the format."""
        parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
        parser.add_argument("--json", action="store_true", help="as JSON, for programs")

    def run(self, args: argparse.Namespace) -> int:
        """Print the status of each."""
        found = read_statuses()
        for name in args.names:
            if name not in found:
                known = ", ".join(found) or "none"
                raise UsageError(f"no service named {name!r} is running", hint=f"there is {known}")
        chosen = {name: found[name] for name in args.names or found}
        if args.json:
            print(json.dumps(chosen))
            return 0
        if not chosen:
            print("no service is running")
        console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        for status in chosen.values():
            console.print(status_report(status))
        return 0
