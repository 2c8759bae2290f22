"""Programs in C with a life of their own, built once: what no Python program can do."""

from __future__ import annotations

import mmap
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

__all__ = ["built"]

_HOT = "for (;;) { for (size_t i = 0; i < n; i += PAGE) p[i]++; usleep(20000); }"
_HEAD = """
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
static size_t n = 16 << 20;
static char *p;
static void memory(void) { p = mmap(0, n, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); memset(p, 1, n); }
static long now_ns(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec; }
static void say(long a, long b) { printf("%ld %ld\\n", a, b); fflush(stdout); }
static void touch(char *q) { for (size_t i = 0; i < n; i += PAGE) q[i]++; }
static void ready(void) { puts("ready"); fflush(stdout); }
"""
_PROGRAMS = {
    # The first thread leaves; another one goes on for argv[1] ms and ends all with exit code 7. By
    # unmapping it flushes the TLB, which an emulated CPU may never do: its clears cannot.
    "headless": """
static int ms;
static void *work(void *x) { for (int t = 0; t < ms; t += 20) {
    char *q = mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(q, 1, 1 << 20); munmap(q, 1 << 20); touch(p); usleep(20000); } _exit(7); }
int main(int c, char **v) { pthread_t t; ms = atoi(v[1]); memory(); pthread_create(&t, 0, work, 0);
    ready(); syscall(SYS_exit, 0); }
""",
    # Two pids with one memory; SIGUSR1 makes the second one exec a program of its own.
    "twin": """
static char stack[1 << 16];
static char **args;
static void execs(int x) { execvp(args[1], args + 1); }
static int child(void *x) { prctl(PR_SET_PDEATHSIG, SIGKILL); signal(SIGUSR1, execs); HOT }
int main(int c, char **v) { args = v; memory();
    printf("%d\\n", clone(child, stack + sizeof stack, CLONE_VM | SIGCHLD, 0));
    fflush(stdout); HOT }
""",
    # Confined by seccomp, argv[1] "strict" or "kill"; "thread" confines another thread only.
    "confined": """
static int filter(void) {
  struct sock_filter f[] = { BPF_STMT(BPF_LD|BPF_W|BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP|BPF_JEQ|BPF_K, SYS_clock_nanosleep, 3, 0),
    BPF_JUMP(BPF_JMP|BPF_JEQ|BPF_K, SYS_exit_group, 2, 0),
    BPF_JUMP(BPF_JMP|BPF_JEQ|BPF_K, SYS_restart_syscall, 1, 0),
    BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_KILL_PROCESS), BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ALLOW) };
  struct sock_fprog g = { sizeof f / sizeof *f, f };
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &g); }
static void *confined(void *x) { filter(); for (;;) usleep(20000); }
int main(int c, char **v) { memory(); ready();
  if (!strcmp(v[1], "thread")) { pthread_t t; pthread_create(&t, 0, confined, 0); HOT }
  if (strcmp(v[1], "strict")) { filter(); HOT }
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
  for (;;) { for (size_t i = 0; i < n; i += PAGE) p[i]++;
    for (volatile int k = 0; k < 1 << 24; k++); } }
""",
    # Touches 32 MiB every argv[1] us, and says when each round began and ended.
    "period": """
int main(int c, char **v) { n = 32 << 20; memory(); ready();
  for (;;) { long began = now_ns(); touch(p); say(began, now_ns()); usleep(atoi(v[1])); } }
""",
    # Touches 96 MiB for argv[1] ms, and ends.
    "brief": """
int main(int c, char **v) { n = 96 << 20; long end = now_ns() + atol(v[1]) * 1000000L; memory();
  while (now_ns() < end) { touch(p); usleep(1000); } }
""",
    # 16 MiB in use, in four places of 256 GiB that are reserved; as much again is out of reach.
    "sparse": """
int main(int c, char **v) { size_t all = 1UL << 38; n = 4 << 20;
  int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  char *q = mmap(0, all, 3, how, -1, 0); mmap(0, all, 0, how, -1, 0); ready();
  for (;;) { for (int k = 0; k < 4; k++) touch(q + all / 4 * k + all / 7 / PAGE * PAGE);
    usleep(5000); } }
""",
    # 32 MiB in use, which move every argv[1] ms, beside 32 MiB that lie idle; says when they moved.
    "mover": """
int main(int c, char **v) { n = 32 << 20; memory(); memory(); ready();
  for (;;) { long end = now_ns() + atol(v[1]) * 1000000L;
    while (now_ns() < end) { touch(p); usleep(2500); }
    char *q = mmap(0, n, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    p = mremap(p, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, q); say(now_ns(), 0); } }
""",
    # argv[1] children, each of which uses 8 MiB of one piece of shared memory: no other part.
    "shares": """
int main(int c, char **v) { int count = atoi(v[1]); pid_t me = getpid(); n = 8 << 20;
  p = mmap(0, n * count, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (c > 2) memset(p, 1, n * count);
  for (int i = 0; i < count; i++) if (!fork()) { prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != me) return 0; p += n * i; HOT }
  ready(); for (;;) pause(); }
""",
    # argv[1] children that use 256 KiB each.
    "kids": """
int main(int c, char **v) { n = 256 << 10; pid_t me = getpid();
  for (int i = 0; i < atoi(v[1]); i++) if (!fork()) { prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != me) return 0; memory();
    for (;;) { for (size_t k = 0; k < n; k += PAGE) p[k]++; usleep(300000); } }
  ready(); for (;;) pause(); }
""",
}


@cache
def built(name: str) -> Path:
    """The program of that name; skips the test where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc)")
    path = Path(mkdtemp(prefix="pydamon-test-")) / name
    source = path.with_suffix(".c")
    source.write_text(_HEAD + _PROGRAMS[name].replace("HOT", _HOT))
    subprocess.run(
        [compiler, "-O1", "-w", f"-DPAGE={mmap.PAGESIZE}", "-o", path, source, "-pthread"],
        check=True,
        capture_output=True,
    )
    return path
