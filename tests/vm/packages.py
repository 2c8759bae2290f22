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

__all__ = [
    "CACHE",
    "ROOT",
    "Kernel",
    "UnavailableError",
    "kernel",
    "package",
    "private_lists",
    "run",
    "tool",
    "tool_environment",
    "unpack",
]

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("PYDAMON_VM_CACHE", ROOT / ".cache/vm"))
TOOLS = {"tools": ("qemu-system-x86", "busybox-static"), "tools-arm64": ("qemu-system-arm",)}
"""Packages with programs that run here, by the directory of the cache."""
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


def kernel(series: str, flavour: str = "cloud-amd64") -> Kernel:
    """The newest kernel of a series such as "6.12", or the newest of all: "" (unpacked)."""
    if series and (kept := sorted(CACHE.glob(f"linux-{series}.*-{flavour}"), key=_version)):
        return Kernel(kept[-1])
    foreign = "arm64" in flavour
    # Where the newest is wanted, this machine's release is not asked: it has an older one.
    fetched = _fetched(series, (), flavour) if series and not foreign else None
    if fetched := fetched or _fetched(series, _newer_releases(foreign), flavour):
        return fetched
    raise UnavailableError(
        f"apt knows no linux-image-{series}.*-{flavour} that is complete, neither here nor in "
        "Debian's newest releases (try: apt-get update)"
    )


def _fetched(series: str, options: Sequence[str], flavour: str) -> Kernel | None:
    """The newest kernel of a series that apt can get whole, with these *options*."""
    name = rf"^linux-image-{re.escape(series and series + '.')}[0-9][^ ]*-{flavour}(-unsigned)?$"
    listed = run("apt-cache", *options, "search", "--names-only", name).splitlines()
    # A "signed" package holds the same kernel; some versions come as that only.
    for found in sorted((line.split()[0] for line in listed), key=_version, reverse=True):
        # Since Linux 6.19, an image is a package that holds nothing. What it needs may be gone.
        said = run("apt-cache", *options, "depends", "--important", found)
        parts = re.findall(r"Depends: <?(linux-(?:base|binary|modules)-\S+)", said)
        if not any(part.endswith(">") for part in parts):
            target = CACHE / found.removesuffix("-unsigned").replace("-image", "")
            return Kernel(target if target.exists() else unpack([found, *parts], target, options))
    return None


def tool(name: str, directory: str = "tools") -> Path:
    """A program of the virtual machine by its file name: the cache's, or an installed one."""
    places = ("usr/bin", "usr/lib/qemu", "usr/libexec", "bin", "usr/share/seabios")
    for root in (_tools(directory), Path("/")):
        for place in places:
            if (path := root / place / name).exists():
                return path
    packages = ", ".join(TOOLS[directory])
    raise UnavailableError(f"there is no {name} in Debian's packages {packages}")


def tool_environment(directory: str = "tools") -> dict[str, str]:
    """The environment in which the unpacked programs find their libraries."""
    places = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
    paths = [str(_tools(directory) / place) for place in places]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}


def package(name: str) -> Path:
    """The directory of a package and of what it needs that this machine lacks (unpacked)."""
    target = CACHE / name
    if target.exists():
        return target
    plan = run("apt-get", "--simulate", "--no-install-recommends", "install", name)
    return unpack(re.findall(r"^Inst (\S+)", plan, re.MULTILINE), target)


def _tools(directory: str) -> Path:
    target = CACHE / directory
    if target.exists():
        return target
    wanted = [*TOOLS[directory]]
    if run("apt-cache", "search", "--names-only", f"^{VIRTIOFSD}$"):
        wanted.append(VIRTIOFSD)
    # What an installation would add to this machine is what the programs lack.
    plan = run("apt-get", "--simulate", "--no-install-recommends", "install", *wanted)
    return unpack(re.findall(r"^Inst (\S+)", plan, re.MULTILINE), target)


def _newer_releases(foreign: bool) -> tuple[str, ...]:
    """Options that let apt find what this machine's release does not have, or arm64's packages."""
    if foreign:
        return private_lists("apt-arm64", ("stable", "unstable", "stable-backports"), "arm64")
    return private_lists("apt", ("unstable", "stable-backports"))


def private_lists(name: str, suites: Sequence[str], architecture: str = "") -> tuple[str, ...]:
    """Options that let apt read lists of its own, below the cache, which are renewed.

    They come from where this machine's do. For another *architecture*, apt knows nothing of what is
    installed here.
    """
    known = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)")
    places = re.findall(r"^Debian (\S+/debian/?)$", known, re.MULTILINE)
    if not places:
        raise UnavailableError("apt has no lists of Debian here (try: apt-get update)")
    directory = CACHE / name
    for part in ("lists/partial", "archives/partial"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    sources = directory / "sources.list"
    sources.write_text("".join(f"deb {places[0]} {suite} main\n" for suite in suites))
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": os.devnull,
        "Dir::State::Lists": directory / "lists",
        "Dir::Cache": directory,
    }
    if architecture:
        status = directory / "status"
        status.touch()
        options |= {
            "Dir::State::Status": status,
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Install-Recommends": "false",
        }
    flags = tuple(f"--option={name}={value}" for name, value in options.items())
    run("apt-get", *flags, "--quiet=2", "update")
    return flags


def unpack(names: list[str], target: Path, options: Sequence[str] = ()) -> Path:
    """Download packages and unpack them; *target* is complete or does not exist."""
    print(f"fetching {' '.join(names)}", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        if names:
            run("apt-get", *options, "--quiet=2", "download", *names, cwd=directory)
        tree = Path(directory, "tree")
        tree.mkdir()
        for package in Path(directory).glob("*.deb"):
            run("dpkg-deb", "--extract", package, tree)
        tree.rename(target)
    return target


def run(*argv: str | Path, cwd: str | Path | None = None) -> str:
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
