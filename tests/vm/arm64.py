"""The files of a virtual machine with an arm64 processor: Debian's packages, and PyPI's wheels.

Its root directory cannot be this machine's. Packages are unpacked, not installed, so nothing of
another processor has to run here.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tests.vm.packages import CACHE, ROOT, private_lists, run, unpack

__all__ = ["PYTHON_PATH", "root"]

PACKAGES = (
    *("python3", "busybox-static", "coreutils", "dash", "bash", "tar", "mount", "util-linux"),
    *("kmod", "procps", "iproute2", "e2fsprogs", "libc-bin", "gcc", "libc6-dev"),
)
TESTED_WITH = (
    *("pytest", "pytest-benchmark", "pytest-rerunfailures", "pytest-xdist", "hypothesis"),
    "pip",
)
"""Distributions that the tests import, and what the wheel is installed with."""
PYTHON_PATH = "opt/python"
"""Where the wheels are, in the root directory."""
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def root() -> Path:
    """The root directory, of the cache; made at the first time."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    distributions = (*project["dependencies"], *TESTED_WITH)
    text = repr((PACKAGES, distributions))
    target = CACHE / f"arm64-root-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if target.exists():
        return target
    options = private_lists("apt-arm64-stable", ("stable",), "arm64")
    plan = run("apt-get", *options, "--simulate", "install", *PACKAGES)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        names = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
        tree = unpack(names, Path(directory, "root"), options)
        _unpack_wheels(distributions, tree)
        _link(tree)
        tree.rename(target)
    return target


def _unpack_wheels(distributions: Sequence[str], tree: Path) -> None:
    version = next(tree.glob("usr/bin/python3.*")).name.removeprefix("python")
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        platforms = [f"--platform={name}" for name in _PLATFORMS]
        print(f"fetching wheels of {', '.join(distributions)}", flush=True)
        run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *(f"--dest={directory}", f"--python-version={version}", "--only-binary=:all:"),
            *platforms,
            *distributions,
        )
        for wheel in Path(directory).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(tree / PYTHON_PATH)


def _link(tree: Path) -> None:
    """Make what the installation of packages would, as far as the tests need it."""
    (tree / "usr/bin/cc").symlink_to("gcc")
    for name in ("dev", "proc", "sys", "tmp", "run"):
        (tree / name).mkdir(exist_ok=True)
