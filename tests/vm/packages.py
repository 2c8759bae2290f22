"""Debian packages for the virtual machine: unpacked into a cache, never installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Kernel", "UnavailableError", "kernel", "package", "tool", "tool_environment"]

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("PYDAMON_VM_CACHE", ROOT / ".cache/vm"))
TOOLS = ("qemu-system-x86", "busybox-static")
VIRTIOFSD = "virtiofsd"
"""A package of its own since Debian 13; before that it comes with qemu."""


@dataclass(frozen=True)
class Kernel:
    """Debian's packages of a kernel, unpacked into a directory."""

    directory: Path

    @property
    def image(self) -> Path:
        """What is booted."""
        return next(self.directory.glob("**/vmlinuz*"))

    @property
    def release(self) -> str:
        """As `uname -r` says it."""
        return self.modules.name

    @property
    def modules(self) -> Path:
        """The directory with its modules, and the list of those that are built in."""
        return next(self.directory.glob("**/modules.builtin")).parent


class UnavailableError(Exception):
    """What the virtual machine needs cannot be had here; one line says why."""


def kernel(series: str) -> Kernel:
    """The newest cloud kernel of a series such as "6.12", or the newest of all: "" (unpacked)."""
    if series and (kept := sorted(CACHE.glob(f"linux-{series}.*"), key=_version)):
        return Kernel(kept[-1])
    # Where the newest is wanted, this machine's release is not asked: it has an older one.
    found = _fetched(series, ()) if series else None
    if found := found or _fetched(series, _newer_releases()):
        return found
    raise UnavailableError(
        f"apt knows no linux-image-{series}.*-cloud-amd64 that is complete, neither here nor in "
        "Debian's newest releases (try: apt-get update)"
    )


def _fetched(series: str, options: Sequence[str]) -> Kernel | None:
    """The newest kernel of a series that apt can get whole, with these *options*."""
    name = rf"^linux-image-{re.escape(series and series + '.')}[0-9][^ ]*-cloud-amd64(-unsigned)?$"
    listed = _run("apt-cache", *options, "search", "--names-only", name).splitlines()
    # A "signed" package holds the same kernel; some versions come as that only.
    for found in sorted((line.split()[0] for line in listed), key=_version, reverse=True):
        # Since Linux 6.19, an image is a package that holds nothing. What it needs may be gone.
        said = _run("apt-cache", *options, "depends", "--important", found)
        parts = re.findall(r"Depends: <?(linux-(?:base|binary|modules)-\S+)", said)
        if not any(part.endswith(">") for part in parts):
            target = CACHE / found.removesuffix("-unsigned").replace("-image", "")
            return Kernel(target if target.exists() else _unpack([found, *parts], target, options))
    return None


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


def package(name: str) -> Path:
    """The directory of a package and of what it needs that this machine lacks (unpacked)."""
    target = CACHE / name
    if target.exists():
        return target
    plan = _run("apt-get", "--simulate", "--no-install-recommends", "install", name)
    return _unpack(re.findall(r"^Inst (\S+)", plan, re.MULTILINE), target)


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


def _newer_releases() -> tuple[str, ...]:
    """Options that let apt read lists of its own, of what this machine's release does not have.

    They come from where this machine's do.
    """
    known = _run("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)")
    places = re.findall(r"^Debian (\S+/debian/?)$", known, re.MULTILINE)
    if not places:
        raise UnavailableError("apt has no lists of Debian here (try: apt-get update)")
    directory = CACHE / "apt"
    for name in ("lists/partial", "archives/partial"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    sources = directory / "sources.list"
    suites = ("unstable", "stable-backports")
    sources.write_text("".join(f"deb {places[0]} {suite} main\n" for suite in suites))
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": os.devnull,
        "Dir::State::Lists": directory / "lists",
        "Dir::Cache": directory,
    }
    flags = tuple(f"--option={name}={value}" for name, value in options.items())
    _run("apt-get", *flags, "--quiet=2", "update")
    return flags


def _unpack(names: list[str], target: Path, options: Sequence[str] = ()) -> Path:
    """Download packages and unpack them; *target* is complete or does not exist."""
    print(f"fetching {' '.join(names)}", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        if names:
            _run("apt-get", *options, "--quiet=2", "download", *names, cwd=directory)
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
