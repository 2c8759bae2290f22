"""Give up every right that the daemon does not need, whoever started it."""

from __future__ import annotations

import ctypes
import os
import resource
import struct

_BPF, _PERFMON, _SYS_NICE, _SYS_PTRACE = 39, 38, 23, 19
_KEPT = (_BPF, _PERFMON, _SYS_NICE, _SYS_PTRACE)
_SET_DUMPABLE, _SET_KEEPCAPS, _CAPBSET_DROP, _SET_SECCOMP, _SET_NO_NEW_PRIVS = 4, 8, 24, 22, 38
_IS_ARM64 = os.uname().machine == "aarch64"
_CAPSET, _CAPABILITY_VERSION = 91 if _IS_ARM64 else 126, 0x20080522
_NOBODY = 65534
_PROCESSOR = 0xC00000B7 if _IS_ARM64 else 0xC000003E
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # with EPERM

# fmt: off
_X86_64 = (
    # read write close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction
    # rt_sigprocmask rt_sigreturn ioctl pread64 readv writev access select sched_yield mremap
    # madvise nanosleep getpid
    0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 23, 24, 25, 28, 35, 39,
    # accept sendto recvfrom sendmsg recvmsg shutdown getsockname setsockopt getsockopt clone
    # exit fcntl ftruncate getcwd readlink gettimeofday getrlimit get(e)uid, get(e)gid
    43, 44, 45, 46, 47, 48, 51, 54, 55, 56, 60, 72, 77, 79, 89, 96, 97, 102, 104, 107, 108,
    # sigaltstack fstatfs gettid futex sched_getaffinity getdents64 set_tid_address clock_*
    # exit_group tgkill openat newfstatat readlinkat pselect6 ppoll set_robust_list
    131, 138, 186, 202, 204, 217, 218, 228, 229, 230, 231, 234, 257, 262, 267, 270, 271, 273,
    # epoll_pwait fallocate accept4 epoll_create1 prlimit64 getrandom memfd_create bpf membarrier
    # statx rseq pidfd_open clone3 process_madvise
    281, 285, 288, 291, 302, 318, 319, 321, 324, 332, 334, 434, 435, 440,
)
"""System calls that the daemon and its interpreter make once the socket is there."""
_ARM64 = (
    # getcwd epoll_create1 epoll_pwait fcntl ioctl fstatfs ftruncate fallocate faccessat openat
    # close getdents64 lseek read write readv writev pread64 pselect6 ppoll readlinkat newfstatat
    # fstat exit
    17, 20, 22, 25, 29, 44, 46, 47, 48, 56, 57, 61, 62, 63, 64, 65, 66, 67, 72, 73, 78, 79, 80, 93,
    # exit_group set_tid_address futex set_robust_list nanosleep clock_* sched_getaffinity
    # sched_yield tgkill sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn getrlimit
    # gettimeofday getpid
    94, 96, 98, 99, 101, 113, 114, 115, 123, 124, 131, 132, 134, 135, 139, 163, 169, 172,
    # get(e)uid, get(e)gid gettid accept getsockname sendto recvfrom setsockopt getsockopt shutdown
    # sendmsg recvmsg brk munmap mremap clone mmap
    174, 175, 176, 177, 178, 202, 204, 206, 207, 208, 209, 210, 211, 212, 214, 215, 216, 220, 222,
    # mprotect madvise accept4 prlimit64 getrandom memfd_create bpf membarrier statx rseq pidfd_open
    # clone3 process_madvise
    226, 233, 242, 261, 278, 279, 280, 283, 291, 293, 434, 435, 440,
)
"""The same, as far as arm64 has them: not those that newer ones have replaced."""
# fmt: on

_libc = ctypes.CDLL(None, use_errno=True)


def enter() -> None:
    """Keep four capabilities only; become nobody, if this is root.

    Raises `OSError`.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0o077)
    os.chdir("/")
    for capability in range(64):
        if capability not in _KEPT:
            _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)  # fails for those that do not exist
    _prctl(_SET_KEEPCAPS, 1)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    low, high = (sum(1 << c % 32 for c in _KEPT if c // 32 == word) for word in (0, 1))
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    data = ctypes.create_string_buffer(struct.pack("=6I", low, low, 0, high, high, 0))
    if _libc.syscall(_CAPSET, header, data):
        raise OSError(
            ctypes.get_errno(), "needs CAP_BPF, CAP_PERFMON, CAP_SYS_NICE, CAP_SYS_PTRACE"
        )
    _prctl(_SET_NO_NEW_PRIVS, 1)
    _prctl(_SET_DUMPABLE, 0)


def refuse_system_calls() -> None:
    """Let only the listed system calls through, from now on, in threads to come as well."""
    load, equal, result = 0x20, 0x15, 0x06
    rules = [(load, 0, 0, 4), (equal, 1, 0, _PROCESSOR), (result, 0, 0, _REFUSE), (load, 0, 0, 0)]
    for number in _ARM64 if _IS_ARM64 else _X86_64:
        rules += [(equal, 0, 1, number), (result, 0, 0, _ALLOW)]
    rules.append((result, 0, 0, _REFUSE))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("=H6xQ", len(rules), ctypes.addressof(code)))
    if _libc.prctl(_SET_SECCOMP, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot limit system calls")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")
