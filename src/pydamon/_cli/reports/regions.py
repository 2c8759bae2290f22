"""`pydamon report regions`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydamon._cli.command import Args
from pydamon._cli.options import recording_options
from pydamon._cli.reports import report_command

if TYPE_CHECKING:
    from pydamon._data.recording import Recording

__all__ = ["regions"]


@report_command("regions")
@recording_options
def regions(args: Args) -> int:
    """Print every region of every snapshot."""
    from pydamon._cli.reports.base import open_recording
    from pydamon._show.results.regions import region_lines

    began_ns: int | None = None
    for part in open_recording(args).sorted():
        if began_ns is None:
            began_ns = int(part.per_snapshot("start_ns")[0])
        if args.json:
            lines = _json_lines(part)
        else:
            lines = (
                line for snapshot in part.snapshots() for line in region_lines(snapshot, began_ns)
            )
        for line in lines:
            sys.stdout.write(line + "\n")
    return 0


def _json_lines(recording: Recording) -> Iterator[str]:
    """Yield an object a line, for each target of each snapshot; unknown errors are `null`."""
    import json

    import numpy as np

    from pydamon._model.shares import rates_hz

    shares = recording.access_share
    errors = recording.column("access_share_error").astype(object)
    errors[np.isnan(recording.column("access_share_error"))] = None
    hz = rates_hz(shares, recording.column("sampling_ns"))
    reals = {"access_share": shares, "access_share_error": errors, "hz": hz}
    names = ("start", "end", "nr_accesses", "age")
    columns = [recording.column(name) for name in names]
    offsets = recording.target_offsets.tolist()
    keys = ("start_ns", "end_ns", "pid", "max_nr_accesses", "process_started_ns", "host", "target")
    values = (recording.per_target(key).tolist() for key in keys)
    texts = {key: recording.names(key) for key in ("host", "target")}
    for first, beyond, *target_values in zip(offsets[:-1], offsets[1:], *values, strict=True):
        rows = np.column_stack([column[first:beyond] for column in columns]).tolist()
        document = dict(zip(keys, target_values, strict=True))
        document |= {key: names[document[key]] for key, names in texts.items()}
        document["regions"] = rows
        document |= {key: values[first:beyond].tolist() for key, values in reals.items()}
        yield json.dumps(document)
