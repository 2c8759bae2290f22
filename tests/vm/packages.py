"""Debian packages for the virtual machine: unpacked into a cache, never installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["UnavailableError", "kernel", "tool", "tool_environment"]

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("PYDAMON_VM_CACHE", ROOT / ".cache/vm"))
TOOLS = ("qemu-system-x86", "busybox-static")
VIRTIOFSD = "virtiofsd"
"""A package of its own since Debian 13; before that it comes with qemu."""


class UnavailableError(Exception):
    """What the virtual machine needs cannot be had here; one line says why."""


def kernel(series: str) -> Path:
    """The unpacked newest cloud kernel of a series such as "6.12": holds boot/ and lib/modules/."""
    if kept := sorted(CACHE.glob(f"linux-{series}.*"), key=_version):
        return kept[-1]
    name = rf"^linux-image-{re.escape(series)}\.[0-9][^ ]*-cloud-amd64(-unsigned)?$"
    listed = _run("apt-cache", "search", "--names-only", name).splitlines()
    # A "signed" package holds the same kernel; some versions come as that only.
    found = sorted((line.split()[0] for line in listed), key=_version)
    if not found:
        raise UnavailableError(
            f"apt knows no linux-image-{series}.*-cloud-amd64: this needs Debian's package lists "
            "(6.1: Debian 12; 6.12: Debian 13, or 12 with its updates or backports)"
        )
    return _unpack([found[-1]], CACHE / found[-1].removesuffix("-unsigned").replace("-image", ""))


def tool(name: str) -> Path:
    """A program of the virtual machine by its file name: the cache's, or an installed one."""
    places = ("usr/bin", "usr/lib/qemu", "usr/libexec", "bin", "usr/share/seabios")
    for root in (_tools(), Path("/")):
        for place in places:
            if (path := root / place / name).exists():
                return path
    raise UnavailableError(f"there is no {name} in Debian's packages {', '.join(TOOLS)}")


def tool_environment() -> dict[str, str]:
    """The environment in which the unpacked programs find their libraries."""
    lib = _tools() / "usr/lib/x86_64-linux-gnu"
    return {**os.environ, "LD_LIBRARY_PATH": f"{lib}:{_tools() / 'lib/x86_64-linux-gnu'}"}


def _tools() -> Path:
    target = CACHE / "tools"
    if target.exists():
        return target
    wanted = [*TOOLS]
    if _run("apt-cache", "search", "--names-only", f"^{VIRTIOFSD}$"):
        wanted.append(VIRTIOFSD)
    # What an installation would add to this machine is what the programs lack.
    plan = _run("apt-get", "--simulate", "--no-install-recommends", "install", *wanted)
    return _unpack(re.findall(r"^Inst (\S+)", plan, re.MULTILINE), target)


def _unpack(names: list[str], target: Path) -> Path:
    """Download packages and unpack them; *target* is complete or does not exist."""
    CACHE.mkdir(parents=True, exist_ok=True)
    print(f"fetching {' '.join(names)}", flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        if names:
            _run("apt-get", "--quiet=2", "download", *names, cwd=directory)
        tree = Path(directory, "tree")
        tree.mkdir()
        for package in Path(directory).glob("*.deb"):
            _run("dpkg-deb", "--extract", package, tree)
        tree.rename(target)
    return target


def _run(*argv: str | Path, cwd: str | Path | None = None) -> str:
    if not shutil.which(argv[0]):
        raise UnavailableError(
            f"there is no {argv[0]} here: the virtual machine needs Debian's packages"
        )
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        reason = lines[0] if lines else done.stderr.strip() or f"exit code {done.returncode}"
        raise UnavailableError(f"{argv[0]}: {reason} (are the lists old? try: apt-get update)")
    return done.stdout


def _version(name: str | Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", Path(name).name)]
