"""`pydamon daemon`: the service that looks at single pages for ordinary users."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pydamon._cli.command import Args, command, option, percent

__all__ = ["daemon"]

_START = "import sys; sys.path.append(sys.argv.pop(1)); from _daemon.main import main; main()"


@command("daemon")
@option(
    "--socket",
    metavar="PATH",
    help="where to listen (default: /run/pydamon.sock; systemd may pass a socket instead)",
)
@option(
    "--user-cpu",
    type=percent,
    default=5.0,
    help="CPU time for each user, of one CPU (default: 5%)",
)
@option(
    "--all-cpu",
    type=percent,
    default=50.0,
    help="CPU time for all users together, of one CPU (default: 50%)",
)
def daemon(args: Args) -> int:
    """Let ordinary users see the accesses of their own processes to the page.

    It needs CAP_BPF, CAP_PERFMON, CAP_SYS_NICE and CAP_SYS_PTRACE, and gives up every other right
    before it answers anybody. It runs until it is killed.
    """
    from pydamon._daemon import main as privileged
    from pydamon._daemon.protocol import SOCKET
    from pydamon._model.errors import UsageError
    from pydamon._observe.probes.ebpf.plan import make_plan

    if not (args.user_cpu > 0 and args.all_cpu > 0):
        raise UsageError("without CPU time the daemon serves nobody", hint="give it 1% or more")
    given = {
        "plan": make_plan(),
        "socket": args.socket or SOCKET,
        "limits": {"user_cpu": args.user_cpu / 100, "cpu": args.all_cpu / 100},
    }
    plan = os.memfd_create("pydamon-plan", 0)  # for the program that takes this process's place
    os.write(plan, json.dumps(given).encode())
    os.lseek(plan, 0, os.SEEK_SET)
    place = Path(privileged.__file__).parent.parent
    # Without site-packages and the environment: what listens is the standard library and _daemon.
    words = [sys.executable, "-I", "-S", "-c", _START, str(place), str(plan)]
    os.execv(sys.executable, words)
