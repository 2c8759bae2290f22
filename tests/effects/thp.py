"""Huge pages: 512 MiB hot, and 512 MiB of which a page in each 2 MiB is used.

"collapse" is for control: a program that made its hot part huge by itself. Where that is not as
fast as "always", the machine is too busy, or not sure of its own huge pages, to tell anything.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

import pydamon
from pydamon._act.policies import Thp
from pydamon._observe.start import monitor
from tests.effects.programs import working

_ROUNDS, _S = 24, 0.3


def main() -> None:
    with ExitStack() as stack:
        kinds = ("never", "always", "collapse", "thp")
        programs = {kind: stack.enter_context(working(kind, 512, 512)) for kind in kinds}
        programs["thp"].start(50)
        mon = stack.enter_context(monitor(programs["thp"].pid, engine="sampling"))
        applied = stack.enter_context(pydamon.apply(mon, *Thp().schemes()))
        for _ in applied.run("49s"):
            pass
        programs["thp"].speed()
        speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(_ROUNDS):
            for kind in kinds:
                programs[kind].start(_S)
                speeds[kind].append(programs[kind].speed())
        speed = {kind: statistics.median(speeds[kind]) for kind in kinds}
        size = {kind: programs[kind].resident_mib for kind in kinds}
        huge = {kind: programs[kind].huge_mib for kind in kinds}
    for kind in kinds:
        print(
            f"{kind:>8}: {speed[kind]:.0f} rounds a second of CPU time, {size[kind]} MiB resident, "
            f"{huge[kind]} MiB of it in huge pages"
        )
    kept, control = (
        100 * (speed[kind] - speed["never"]) / (speed["always"] - speed["never"])
        for kind in ("thp", "collapse")
    )
    bloat = (size["thp"] - size["never"]) / (size["always"] - size["never"])
    print(
        f"speed-up kept: {kept:.0f} % (control: {control:.0f} %), "
        f"bloat avoided: {100 * (1 - bloat):.0f} %"
    )
    print(applied[0].stats)


if __name__ == "__main__":
    main()
