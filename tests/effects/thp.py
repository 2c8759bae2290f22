"""Huge pages: 512 MiB hot, and 512 MiB of which a page in each 2 MiB is used."""

from __future__ import annotations

import statistics
from contextlib import ExitStack

import pydamon
from pydamon.engine import monitor
from pydamon.policies import Thp
from tests.effects.programs import working

_ROUNDS, _S = 6, 1.5


def main() -> None:
    with ExitStack() as stack:
        kinds = ("never", "always", "thp")
        programs = {kind: stack.enter_context(working(kind, 512, 512)) for kind in kinds}
        programs["thp"].start(50)
        mon = stack.enter_context(monitor(programs["thp"].pid))
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
            f"{kind:>6}: {speed[kind]:.0f} rounds a second of CPU time, {size[kind]} MiB resident, "
            f"{huge[kind]} MiB of it in huge pages"
        )
    gained = (speed["thp"] - speed["never"]) / (speed["always"] - speed["never"])
    bloat = (size["thp"] - size["never"]) / (size["always"] - size["never"])
    print(f"speed-up kept: {100 * gained:.0f} %, bloat avoided: {100 * (1 - bloat):.0f} %")
    print(applied[0].stats)


if __name__ == "__main__":
    main()
