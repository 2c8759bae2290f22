"""`pydamon report regions`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

import numpy as np

from pydamon.cli.reports.base import add_recording_arguments, open_recording
from pydamon.recording import Recording
from pydamon.views import region_lines

__all__ = ["RegionsReport"]


class RegionsReport:
    """Every region of every snapshot."""

    name = "regions"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which recording."""
        add_recording_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Print all of them as they are read: there can be millions."""
        began_ns: int | None = None
        for part in open_recording(args).sorted():
            if began_ns is None:
                began_ns = int(part.of_snapshots("start_ns")[0])
            if args.json:
                lines = _json_lines(part)
            else:
                lines = (line for one in part.snapshots() for line in region_lines(one, began_ns))
            for line in lines:
                sys.stdout.write(line + "\n")
        return 0


def _json_lines(recording: Recording) -> Iterator[str]:
    """One object a line, for each target of each snapshot."""
    names = ("start", "end", "nr_accesses", "age")
    columns = [recording.column(name) for name in names]
    offsets = recording.part_offsets.tolist()
    facts = ("start_ns", "end_ns", "pid", "max_nr_accesses")
    heads = [
        recording.of_parts(name)
        if name == "pid"
        else recording.of_snapshots(name)[recording.part_snapshots]
        for name in facts
    ]
    values = (head.tolist() for head in heads)
    for first, beyond, *mine in zip(offsets[:-1], offsets[1:], *values, strict=True):
        rows = np.column_stack([column[first:beyond] for column in columns]).tolist()
        yield json.dumps({**dict(zip(facts, mine, strict=True)), "regions": rows})
