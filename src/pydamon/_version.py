"""The version of the installed package, without the import of what parses its metadata."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["installed_version"]

_DIRECTORY = re.compile(r"pydamon-([^-]+)\.dist-info")


def installed_version() -> str:
    """Return the version, or nothing where pydamon is not installed.

    The directory of the metadata has the version in its name. `importlib.metadata` reads it from
    the file inside, for which it imports a parser of e-mail, a twentieth of the start of `record`.
    """
    for path in sys.path:
        with suppress(OSError):
            for entry in Path(path).glob("pydamon-*.dist-info"):
                if match := _DIRECTORY.fullmatch(entry.name):
                    return match[1]
    return _from_metadata()


def _from_metadata() -> str:
    """The version from packages that are installed another way, as in a zip file."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("pydamon")
    except PackageNotFoundError:
        return ""
