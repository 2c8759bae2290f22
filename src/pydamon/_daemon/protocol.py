"""What goes over the socket, and where in the shared memory the rest is.

A request is one packet of fixed size, and so is the reply; a reply that reports an error has a line
of text behind it. `TARGET` comes with two descriptors, and the reply to `OPEN` with one.
"""

from __future__ import annotations

import enum
import struct

SOCKET = "/run/pydamon.sock"
VERSION = 3
ARGUMENTS = 12
REQUEST = struct.Struct(f"<HHI{ARGUMENTS}Q")
"""Operation, flags (none yet: 0), number of the request, arguments."""
REPLY = struct.Struct("<IiQ6Q")
"""Number of the request, status, CPU time of the daemon for it in ns, values."""
TEXT_BYTES = 200
"""The longest text behind a reply."""
MAX_REGIONS = 1 << 14
MAX_TARGETS = 256
RANGES, TABLES, ARMED_BLOCKS, LOOKS = 1024, 128, 128, 8
"""Sizes of maps, and of one look's results; see sampler.bpf.c."""
MAX_TABLES = 512
"""Page tables that one request copies."""
FIRST, COPY, SETTLE, READ_BACK = 1, 2, 4, 8
"""Marks of `BEGIN` and `SCAN`: it is epoch 0, with new blocks; copy tables of which more is cleared
than a block; end the epoch before; count what another monitor found accessed."""


class Op(enum.IntEnum):
    """What a peer may ask for; the comment names the arguments and, behind ->, the values."""

    HELLO = 1  # version, fingerprint -> regions and targets of a session at most, whether it can
    #            read back what another monitor took
    OPEN = 2  # regions, targets
    #           -> logarithm of what entries of the top tables map, how many map user space,
    #              whether interrupts take looks
    TARGET = 3  # index; descriptors: pidfd, pagemap
    BEGIN = 4  # regions, looks, 7 times of looks in ns, marks, changed blocks
    #            -> armed, listed, doubtful, refused, tables, ns of clears
    LOOK = 5
    SETTLE = 6  # regions, changed blocks
    SCAN = 7  # shift, tables, marks
    ADVISE = 8  # target, ranges -> bytes advised + 1, or errno (second value)


class Status(enum.IntEnum):
    """The kind of a reply."""

    OK = 0
    REFUSED = -1
    """This request failed; the session goes on."""
    ENDED = -2
    """The connection ends: the message made no sense, or a limit is reached."""


_ALIGN = 64


def areas(regions: int, targets: int, block: int, pace: int) -> dict[str, tuple[int, int]]:
    """Offset and size of each part of a session's shared memory, by the sizes of two structures."""
    sizes = {
        "blocks": regions * block,
        "paces": pace,
        "ranges": RANGES * 16,
        "pending": RANGES * 8,
        "doubtful": RANGES * 8,
        "refused": RANGES * 4,
        "places": MAX_TABLES * 16,
        "marks": MAX_TABLES * 1024,
        "parents": MAX_TABLES * 8,
        "gone": targets,
    }
    placed, offset = {}, 0
    for name, size in sizes.items():
        placed[name] = offset, size
        offset += -(-size // _ALIGN) * _ALIGN
    placed["all"] = 0, offset
    return placed
