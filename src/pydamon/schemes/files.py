"""Files that people write, of schemes and of configurations."""

from __future__ import annotations

from pathlib import Path

from pydamon.core.errors import UsageError
from pydamon.core.plain import MAX_FILE_BYTES, Node, parse

__all__ = ["load"]


def load(path: str | Path) -> Node:
    """What is in a file; raises `UsageError` where it cannot be read, and what `parse` raises."""
    try:
        with Path(path).open("rb") as opened:
            return parse(opened.read(MAX_FILE_BYTES + 1), str(path))
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a name that no file can have
        raise UsageError(f"cannot read {str(path)!r}: {error}") from None
