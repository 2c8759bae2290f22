"""Run tests in a virtual machine: other kernels, page tables, swap and huge pages, safely.

    python -m tests.vm.run [--variant NAME,...] [pytest arguments]

The machine is emulated in software, so nothing but Debian's packages is needed. Its root directory
is this machine's, read-only, with what is written kept in its memory: the same Python runs the same
files. One with an arm64 processor has a root directory of Debian's packages instead (arm64.py).
What the tests leave in /tmp/results is brought back, with a JUnit report, and the exit code is
theirs. See docs/how-to/run-the-tests.md.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.vm import arm64
from tests.vm.initramfs import archive, modules
from tests.vm.packages import (
    CACHE,
    ROOT,
    Kernel,
    UnavailableError,
    kernel,
    package,
    tool,
    tool_environment,
)

HERE = Path(__file__).parent
MODULES = ("virtio_pci", "virtiofs", "overlay", "virtio_blk")
CPU = "max,avx2=off"
"""What emulates AVX2 in qemu 7.2 makes NumPy sort wrongly, and so `np.unique`."""
ARM_CPU = "max,pauth-impdef=on,sve=off"
"""Authenticated pointers and long vectors as qemu has them otherwise take most of the time."""
DISK_BYTES = 1 << 30
"""Of a disk for /tmp: what a file in memory holds cannot be paged out."""
EXT4 = ("crc32c_generic", "ext4")
BUSYBOX = "usr/bin/busybox"
RESULT_BYTES = 1 << 28
"""Of a disk to which the machine writes an archive with its results."""
ARM_TESTS = tuple(f"tests/integration/test_{name}.py" for name in ("patterns", "ebpf", "engines"))
"""What an emulated arm64 processor runs without another word: that takes it long enough."""
UNAVAILABLE, TIMED_OUT = 77, 124
"""Exit codes: the machine cannot be had here (as automake has it); it took too long (`timeout`)."""


@dataclass(frozen=True)
class Settings:
    """What kind of machine to start."""

    linux: str = "6.12"
    machine: str = "x86-64"
    flavour: str = "cloud-amd64"
    """Which of Debian's kernels of that version."""
    modules: tuple[str, ...] = ()
    """What that kernel needs besides, and others have built in."""
    cpu: str = CPU
    cpus: int = 2
    memory_mib: int = 2048
    nodes: int = 1
    huge_pages: str = "madvise"
    large_folios: bool = False
    zram_mib: int = 0


def _arm64(flavour: str, modules: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"machine": "arm64", "flavour": flavour, "cpu": ARM_CPU, "modules": modules}


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "la57": ("5-level page tables, which is what there is without another word", {}),
    "4level": ("4-level page tables", {"cpu": f"{CPU},la57=off"}),
    "linux61": ("Debian 12's Linux 6.1, without DAMON", {"linux": "6.1"}),
    "newest": ("the newest Linux that Debian has, whatever its release", {"linux": ""}),
    "thp": ("transparent huge pages always, not only where asked for", {"huge_pages": "always"}),
    "mthp": ("large folios of every size as well", {"huge_pages": "always", "large_folios": True}),
    "zram": ("512 MiB of swap in compressed memory", {"zram_mib": 512}),
    "numa": ("2 NUMA nodes", {"nodes": 2}),
    "cpu1": ("one CPU, so that none executes code that another one replaces", {"cpus": 1}),
    "arm64": ("an arm64 processor, pages of 4 KiB", _arm64("cloud-arm64")),
    "arm64-16k": ("an arm64 processor, pages of 16 KiB", _arm64("arm64-16k", EXT4)),
    "arm64-64k": ("an arm64 processor, pages of 64 KiB", _arm64("arm64-64k")),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Boot, run, report."""
    options, tests = _parser().parse_known_args(argv)
    settings = Settings(memory_mib=options.memory)
    for name in options.variant.split(",") if options.variant else ():
        if name not in VARIANTS:
            print(f"there is no variant {name!r}; choose from {', '.join(VARIANTS)}")
            return 2
        settings = replace(settings, **VARIANTS[name][1])
    default = ARM_TESTS if settings.machine == "arm64" else ("tests/integration", "tests/vm")
    pytest = ["-m", "pytest", "--junit-xml=/tmp/results/junit.xml", *(tests or default)]
    python = "/usr/bin/python3" if settings.machine == "arm64" else sys.executable
    command = [python, *(options.python or pytest)]
    results = CACHE / "results" / (options.variant or "default")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.linux:
        settings = replace(settings, linux=options.linux)
    try:
        return run(settings, command, results, options.timeout)
    except UnavailableError as error:
        print(f"no virtual machine: {error}", file=sys.stderr)
        return UNAVAILABLE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def run(settings: Settings, command: Sequence[str], results: Path, timeout_s: float) -> int:
    """Run a command in the machine; its exit code."""
    linux = kernel(settings.linux, settings.flavour)
    root = arm64.root() if settings.machine == "arm64" else Path("/")
    for name in ("runc", "redis-server"):
        try:
            package(name)
        except UnavailableError as error:
            print(f"tests of containers will be skipped: {error}")
    with tempfile.TemporaryDirectory(prefix="pydamon-vm-") as name:
        directory = Path(name)
        (directory / "initramfs").write_bytes(_initramfs(linux, settings, root, command))
        for file, size_bytes in (("disk", DISK_BYTES), ("results", RESULT_BYTES)):
            with (directory / file).open("wb") as disk:
                disk.truncate(size_bytes)
        with _files(root) as files:
            qemu = _qemu(settings, linux.image, directory, files)
            print(f"booting {linux.release}: {settings}", flush=True)
            environment = tool_environment(_tools_of(settings))
            with _process(qemu, env=environment) as process:
                try:
                    process.wait(timeout_s)
                except subprocess.TimeoutExpired:
                    print(f"\nended after {timeout_s:g} s, before the tests were done")
                    return TIMED_OUT
        return _collect(directory / "results", results)


def _script(command: Sequence[str]) -> str:
    """The command, with this checkout's source: the environment may be linked to another's."""
    root, cache = shlex.quote(str(ROOT)), shlex.quote(str(CACHE))
    path = f"{root}/src:{root}/tools:/{arm64.PYTHON_PATH}"
    return (
        f"cd {root} && export PYTHONPATH={path} PYDAMON_VM_CACHE={cache} && {shlex.join(command)}\n"
    )


def _tools_of(settings: Settings) -> str:
    """The directory of the cache with the emulator."""
    return "tools-arm64" if settings.machine == "arm64" else "tools"


def _initramfs(linux: Kernel, settings: Settings, root: Path, command: Sequence[str]) -> bytes:
    wanted = MODULES + settings.modules + (("lzo_rle", "zram") if settings.zram_mib else ())
    files = {
        "init": (HERE / "initramfs.sh").read_bytes(),
        "bin/busybox": (tool("busybox") if root == Path("/") else root / BUSYBOX).read_bytes(),
        "vm/init.sh": (HERE / "init.sh").read_bytes(),
        "vm/checkout": f"{ROOT}\n".encode(),
        "vm/command": _script(command).encode(),
    }
    for number, code in enumerate(modules(linux, wanted)):
        files[f"modules/{number:02}.ko"] = code
    if settings.zram_mib:
        files["vm/zram"] = f"{settings.zram_mib}M\n".encode()
    if settings.large_folios:
        files["vm/mthp"] = b""
    return archive(files)


def _qemu(settings: Settings, image: Path, directory: Path, files: Path) -> list[str | Path]:
    nodes, per_node = settings.nodes, settings.memory_mib // settings.nodes
    memory: list[str] = []
    for node in range(nodes):
        backend = f"memory-backend-memfd,id=memory{node},size={per_node}M,share=on"
        cpus = "".join(f",cpus={cpu}" for cpu in range(node, settings.cpus, nodes))
        memory += ["-object", backend, "-numa", f"node,nodeid={node},memdev=memory{node}{cpus}"]
    arm = settings.machine == "arm64"
    console = "ttyAMA0" if arm else "ttyS0"
    line = f"console={console} quiet loglevel=3 panic=-1 transparent_hugepage={settings.huge_pages}"
    return [
        *_emulator(settings),
        *("-accel", "tcg", "-cpu", settings.cpu, "-smp", str(settings.cpus)),
        *("-m", f"{settings.memory_mib}M", *memory),
        *("-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none"),
        *("-kernel", image, "-initrd", directory / "initramfs", "-append", line),
        *("-chardev", f"socket,id=files,path={files}"),
        *("-device", "vhost-user-fs-pci,chardev=files,tag=host"),
        *("-drive", f"file={directory / 'disk'},if=none,id=disk,format=raw,cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-drive", f"file={directory / 'results'},if=none,id=results,format=raw,cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=results"),
        *("-serial", "stdio"),
    ]


def _emulator(settings: Settings) -> list[str | Path]:
    """The program, its files, and what is particular to its processor."""
    if settings.machine == "arm64":
        program = tool("qemu-system-aarch64", _tools_of(settings))
        return [program, "-L", program.parents[1] / "share/qemu", "-machine", "virt,gic-version=3"]
    program = tool("qemu-system-x86_64")
    return [
        *(program, "-L", tool("bios-256k.bin").parent),
        *("-L", program.parents[1] / "share/qemu", "-machine", "q35"),
    ]


@contextmanager
def _files(root: Path) -> Iterator[Path]:
    """Serve a root directory, from a mount namespace in which it is read-only.

    It has this checkout in its place.
    """
    if os.geteuid() != 0:
        raise UnavailableError("virtiofsd needs root to serve this machine's files")
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="pydamon-vm-"))
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        path = Path(name, "files")
        listener.bind(str(path))
        listener.listen()
        fd = listener.fileno()
        daemon = tool("virtiofsd")
        # The one that came with qemu and its successor differ in their options.
        options = ["-o", f"log_level=err,cache=always,source={name}"]
        if daemon.parent.name != "qemu":
            options = ["--log-level=error", "--cache=always", f"--shared-dir={name}"]
        mounts = 'mount --rbind "$1" "$0" && mount -o remount,bind,ro "$0"'
        if root != Path("/"):
            (root / ROOT.relative_to("/")).mkdir(parents=True, exist_ok=True)
            mounts += ' && mount --rbind "$2" "$0$2" && mount -o remount,bind,ro "$0$2"'
        script = f'{mounts} && shift 2 && exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", script, name, str(root), str(ROOT)]
        argv += [str(daemon), f"--fd={fd}", *options]
        log = stack.enter_context(Path(name, "log").open("wb"))
        with _process(argv, pass_fds=[fd], env=tool_environment(), stderr=log):
            listener.close()
            yield path


@contextmanager
def _process(argv: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone when this ends, or when this program is killed."""
    setpriv = shutil.which("setpriv")
    argv = [setpriv, "--pdeathsig", "KILL", *argv] if setpriv else argv
    options |= {"stdin": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(argv, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _collect(archive_file: Path, results: Path) -> int:
    """Unpack what the machine sent; the exit code is part of it."""
    shutil.rmtree(results, ignore_errors=True)
    try:
        with tarfile.open(fileobj=archive_file.open("rb")) as tar:
            tar.extractall(results, filter="data")
        code = int((results / "exit-code").read_text())
    except (OSError, tarfile.TarError, ValueError):
        print("the machine stopped before the tests were done")
        return 1
    print(f"exit code {code}; results are in {results}")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm.run",
        description="Run tests in a virtual machine. Other arguments go to pytest.",
        epilog="Variants: " + "; ".join(f"{name}: {text}" for name, (text, _) in VARIANTS.items()),
    )
    parser.add_argument("--variant", default="", metavar="NAME,...", help="see below")
    parser.add_argument("--linux", metavar="SERIES", help='such as "6.18": any that Debian has')
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB")
    parser.add_argument("--timeout", type=float, default=1800, metavar="SECONDS")
    parser.add_argument("--python", nargs=argparse.REMAINDER, help="run python with these instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
