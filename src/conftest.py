"""Doctests need no privileges and leave no files.

They run as the user `nobody` if the tests run as root, in an empty directory that must be empty
afterwards, too.
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
    # Modules that an example imports must be readable. Below /root they are not.
    readable = os.access(__file__, os.R_OK, effective_ids=True)
    if not readable:
        os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(0)
