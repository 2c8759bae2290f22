"""Doctests need no privileges and leave no files.

They run as the user `nobody` if the tests run as root and nobody can read the modules, and in an
empty directory that must be empty afterwards, too.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


@pytest.fixture(autouse=True)
def _plain_directory_and_user() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)  # noqa: PTH101  (the directory is open to nobody on purpose)
        os.chdir(directory)
        try:
            with _without_privileges():
                yield
            assert os.listdir(directory) == [], "a doctest left files"  # noqa: PTH208
        finally:
            os.chdir(before)


@contextmanager
def _without_privileges() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    # An example imports modules, of which nobody can read those below /root.
    sources = (__file__, os.__file__, pytest.__file__)
    if not all(os.access(path, os.R_OK, effective_ids=True) for path in sources):
        os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(0)
