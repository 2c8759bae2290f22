"""Build the packages, check them, and try the wheel: python tools/package.py

The sdist and the wheel are left in `dist`. The wheel is built from the sdist, so both are complete.
It is tried in an empty virtual environment outside of the source tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from zipfile import ZipFile

from bpf_build import TARGETS

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
BPF_OBJECTS = {
    f"pydamon/_observe/probes/ebpf/sampler{target}{suffix}.bpf.o"
    for target in TARGETS
    for suffix in ("", "_bounded")
} | {"pydamon/_observe/cache/cache.bpf.o"}
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64")
"""The wheel is for every processor, as BPF is; what it needs must have wheels for each."""
PROGRAM = "import time; memory = bytearray(32 << 20); time.sleep(2)"


def build() -> tuple[Path, Path]:
    """Build both packages; return the paths of the sdist and of the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", str(DIST), str(ROOT))
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    return sdist, wheel


def check(sdist: Path, wheel: Path) -> None:
    """Check the metadata of both packages, and the files of the wheel."""
    if missing := BPF_OBJECTS - set(ZipFile(wheel).namelist()):
        sys.exit(f"{wheel.name} lacks {', '.join(sorted(missing))}")
    run(sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel))
    run(sys.executable, "-m", "check_wheel_contents", str(wheel))


def check_platforms(wheel: Path) -> None:
    """Check that pip can install it on each processor without building anything."""
    for platform in PLATFORMS:
        with tempfile.TemporaryDirectory() as directory:
            run(
                *(sys.executable, "-m", "pip", "install", "--quiet", "--target", directory),
                *("--platform", platform, "--only-binary=:all:", "--no-compile"),
                *("--disable-pip-version-check", str(wheel)),
            )
            if not list(Path(directory).glob("pyarrow/*.so")):
                sys.exit(f"{wheel.name} installs nothing of {platform}")


def try_wheel(wheel: Path) -> None:
    """Install the wheel, and make a first recording with it."""
    with tempfile.TemporaryDirectory() as directory:
        venv.create(Path(directory) / "venv", with_pip=True)
        python = str(Path(directory) / "venv/bin/python")
        pydamon = str(Path(directory) / "venv/bin/pydamon")
        run(python, "-m", "pip", "install", "--quiet", str(wheel), cwd=directory)
        version = run(pydamon, "--version", cwd=directory).split()[1]
        if version != wheel.name.split("-")[1]:
            sys.exit(f"{wheel.name} says that it is version {version}")
        run(pydamon, "doctor", cwd=directory)
        run(pydamon, "record", "--engine", "sampling", "--", python, "-c", PROGRAM, cwd=directory)
        if "Working set" not in run(pydamon, "report", "summary", cwd=directory):
            sys.exit("the summary of the recording has no working set")


def run(*command: str, cwd: str | Path = ROOT) -> str:
    """Run a command without the source tree on its path; print and return its output."""
    print(f"$ {' '.join(command)}", flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, text=True, cwd=cwd, env=environment
    )
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    packages = build()
    check(*packages)
    check_platforms(packages[1])
    try_wheel(packages[1])
