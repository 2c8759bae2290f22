"""Reclaim: 400 MiB of a file, of which 40 are hot, on this machine (which needs no swap for it)."""

from __future__ import annotations

import os
import statistics
import tempfile

import pydamon
from pydamon._act.policies import Reclaim
from pydamon._observe.start import monitor
from tests.effects.programs import MIB, Worker, working

_ROUNDS, _S = 8, 1.0


def main() -> None:
    # Between watermarks whatever is free; the age is shorter than by default to save time.
    policy = Reclaim(min_age="5s", high=1000, mid=1000, low=0)
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        for _ in range(400):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())
        with (
            working("file", 40, 360, file.name) as program,
            working("none", 40, 4) as peer,
        ):
            before = program.resident_mib
            alone = _compare(program, peer)
            program.start(40)
            with (
                monitor(program.pid, engine="sampling") as mon,
                pydamon.apply(mon, *policy.schemes()) as applied,
            ):
                for _ in applied.run("40s"):
                    pass
                program.speed()
                after, faults, stats = program.resident_mib, program.major_faults, applied[0].stats
                # The monitor goes on in between: it works while it is waited for only.
                during = []
                for _ in range(_ROUNDS):
                    program.start(_S)
                    for _ in applied.run(f"{_S}s"):
                        pass
                    during.append(program.speed())
                    peer.start(_S)
                    during[-1] /= peer.speed()
            later = program.major_faults - faults
    lost = 1 - statistics.median(during) / alone
    print(f"resident {before} MiB, then {after} MiB: {100 * (1 - after / before):.1f} % gone")
    print(f"speed lost while it goes on: {100 * lost:.1f} %; major faults then: {later}")
    print(stats)


def _compare(program: Worker, peer: Worker) -> float:
    """How fast one is, measured by the other, which shares the machine's ups and downs."""
    shares = []
    for _ in range(_ROUNDS):
        program.start(_S)
        mine = program.speed()
        peer.start(_S)
        shares.append(mine / peer.speed())
    return statistics.median(shares)


if __name__ == "__main__":
    main()
