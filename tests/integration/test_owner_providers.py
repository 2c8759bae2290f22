"""Owners of real programs: PostgreSQL under load, a Java program.

The providers' watches are private, and tested here against what the programs say of themselves.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydamon._owners.watching import watch_named
from tests.integration.owner_reports import (
    allocated,
    needs,
    needs_page_maps,
    owners_report,
    pydamon,
    sum_below,
)

pytestmark = [pytest.mark.live, pytest.mark.long]

NOBODY = "nobody"
MIB = 1 << 20


# PostgreSQL


class Server:
    """A PostgreSQL of this test, with its data in a folder of its own."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.folder, self._bin = folder, bin_folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # PostgreSQL refuses to run as root.
        self._user = NOBODY if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        self.run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "tester", "-N")
        settings = (
            f"-p {self.port} -k {folder} -c listen_addresses='' -c shared_buffers=128MB"
            " -c autovacuum=off -c fsync=off"
        )
        data, log = str(folder / "data"), str(folder / "log")
        self.run("pg_ctl", "-D", data, "-o", settings, "-l", log, "-w", "start")
        self.pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def dsn(self) -> str:
        return f"host={self.folder} port={self.port} user=tester dbname=postgres"

    def words(self, program: str) -> list[str]:
        return [
            *(str(self._bin / program), "-h", str(self.folder), "-p", str(self.port)),
            *("-U", "tester"),
        ]

    def run(self, program: str, *words: str) -> str:
        done = subprocess.run(
            [str(self._bin / program), *words],
            user=self._user,
            cwd=self.folder,
            stdout=subprocess.PIPE if program == "psql" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        return done.stdout or ""

    def sql(self, statement: str) -> str:
        words = self.words("psql")[1:]
        return self.run("psql", *words, "-d", "postgres", "-qAt", "-c", statement)

    def load(self, script: str) -> subprocess.Popen[bytes]:
        path = self.folder / "load.sql"
        path.write_text(script)
        path.chmod(0o644)
        words = [*self.words("pgbench"), "-n", "-c", "2", "-T", "600", "-R", "2000", "-f", path]
        return subprocess.Popen(
            [*map(str, words), "postgres"],
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the package psycopg is missing: pip install 'pydamon[postgresql]'")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path("/usr/bin")]
    if not all((folders[-1] / name).is_file() for name in ("initdb", "pg_ctl", "pgbench")):
        pytest.skip("this machine has no PostgreSQL server with pgbench")
    # The user of the server must reach its folder, which that of pytest does not allow.
    folder = Path(f"/tmp/pydamon-postgresql-{os.getpid()}")
    folder.mkdir()
    server = None
    try:
        server = Server(folder, folders[-1])
        has = "select count(*) from pg_available_extensions where name = 'pg_buffercache'"
        if server.sql(has).strip() == "0":
            pytest.skip("this PostgreSQL has no extension pg_buffercache")
        server.sql("create extension pg_buffercache")
        for table in ("orders", "events", "customers"):
            server.sql(
                f"create table {table} as select g id, repeat('x', 100) pad"
                " from generate_series(1, 60000) g"
            )
            server.sql(f"create index on {table} (id)")
        server.sql("vacuum analyze orders, events, customers")
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder)


def test_bytes_by_relation_are_those_of_pg_buffercache(server: Server) -> None:
    watch = watch_named(f"postgresql={server.dsn}", [server.pid])
    try:
        watch.observe([server.pid])
        held = allocated(watch.owners()[0])
        # The fork is the last label, if it is not the table itself.
        told = {
            table: sum(size for path, size in held.items() if f"public.{table}" in path)
            for table in ("orders", "events", "customers")
        }
        expected = {
            name: int(blocks) * 8192
            for name, blocks in (
                row.split("|")
                for row in server.sql(
                    "select coalesce(t.relname, c.relname), count(*) from pg_buffercache b"
                    " join pg_class c on pg_relation_filenode(c.oid) = b.relfilenode"
                    " left join pg_index i on i.indexrelid = c.oid"
                    " left join pg_class t on t.oid = i.indrelid"
                    " where c.relnamespace = 'public'::regnamespace group by 1"
                ).split()
            )
            if name in told
        }
    finally:
        watch.close()
    assert told == expected
    assert told["orders"] > 7 * MIB


def test_a_database_that_refuses_the_user_has_files_without_names(server: Server) -> None:
    server.sql("create role reader login in role pg_monitor")
    server.sql("create database shut")
    server.sql("revoke connect on database shut from public")
    dsn = server.dsn.replace("user=tester", "user=reader")
    watch = watch_named(f"postgresql={dsn}", [server.pid])
    try:
        watch.observe([server.pid])
        paths = watch.owners()[0].paths
    finally:
        watch.close()
        server.sql("drop database shut")
    assert any("public.orders" in path for path in paths)
    assert any(path[1] == "shut" and path[2].startswith("file ") for path in paths)


def test_the_server_is_found_without_a_connection_string(server: Server) -> None:
    # The user of the system is no user of this server: the message says what to do.
    with pytest.raises(Exception, match=r"cannot connect to PostgreSQL.*role"):
        watch_named("postgresql", [server.pid])


def test_the_table_under_load_is_hot_and_the_others_are_idle(
    server: Server, tmp_path: Path
) -> None:
    needs_page_maps()
    server.sql("select count(*) from events")
    load = server.load("\\set id random(1, 60000)\nselect * from orders where id = :id;\n")
    recording = tmp_path / "pg.damon"
    try:
        time.sleep(2)
        choice = f"postgresql={server.dsn}"
        words = ("--engine", "sampling", "--duration", "40s", "--owners", choice)
        pydamon("record", "-o", str(recording), *words, str(server.pid))
    finally:
        load.terminate()
        load.wait()
    owners = owners_report(recording)
    tables = [use for use in owners if use["path"][-1] == "table"]
    for table in ("events", "customers"):
        size = sum_below(tables, f"public.{table}", "allocated_bytes")
        assert sum_below(tables, f"public.{table}", "idle_bytes") > 0.95 * size
    size = sum_below(tables, "public.orders", "allocated_bytes")
    used = sum_below(tables, "public.orders", "hot_bytes")
    used += sum_below(tables, "public.orders", "warm_bytes")
    assert used > 0.95 * size
    process_memory = sum_below(owners, "process memory", "resident_bytes")
    assert process_memory > MIB


# Java

JAVA = """
public class Kept {
  static byte[][] kept = new byte[640][];
  public static void main(String[] words) throws Exception {
    for (int i = 0; i < 640; i++) {
      kept[i] = new byte[64 << 10];
      java.util.Arrays.fill(kept[i], (byte) 1);
    }
    System.gc();
    Thread reader = new Thread(() -> {
      long sum = 0;
      while (true) {
        for (int i = 0; i < 160; i++) for (int k = 0; k < 64 << 10; k += 256) sum += kept[i][k];
        try { Thread.sleep(100); } catch (InterruptedException error) { return; }
      }
    }, "reader-with-a-long-name");
    reader.setDaemon(true);
    reader.start();
    System.out.println("ready");
    System.in.read();
  }
}
"""


@contextlib.contextmanager
def java(folder: Path, collector: str, user: str | None = None) -> Iterator[int]:
    needs("java", "javac", "jcmd")
    (folder / "Kept.java").write_text(JAVA)
    subprocess.run(["javac", "Kept.java"], cwd=folder, check=True)
    options = ["-XX:NativeMemoryTracking=detail", f"-XX:+Use{collector}GC", "-Xmx256m"]
    program = subprocess.Popen(
        ["java", *options, "-cp", str(folder), "Kept"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
    )
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        if program.stdout.readline().strip() != b"ready":
            pytest.skip(f"this Java has no {collector}")
        yield program.pid
    finally:
        program.stdin.close()
        program.stdout.close()
        program.wait()


@pytest.mark.parametrize("collector", ["G1", "Z"])
def test_a_jvm_tells_its_committed_bytes(tmp_path: Path, collector: str) -> None:
    with java(tmp_path, collector) as pid:
        watch = watch_named("jvm", [pid])
        watch.observe([pid])
        sums = allocated(watch.owners()[0])
        words = ["jcmd", str(pid), "VM.native_memory", "summary", "scale=KB"]
        summary = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    committed = re.search(r"mmap:\s+reserved=\d+KB, committed=(\d+)KB", summary)
    assert committed is not None
    assert sum(sums.values()) == pytest.approx(int(committed[1]) << 10, rel=0.01)
    kinds = {path[1] for path in sums}
    assert {"Java Heap", "Code", "Metaspace", "Thread Stack"} <= kinds
    assert ("JVM", "Thread Stack", "reader-with-a-long-name") in sums


def test_root_asks_a_jvm_of_another_user() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a program as another user")
    # That user must reach the class, which the folders of pytest do not allow.
    with tempfile.TemporaryDirectory(prefix="pydamon-java-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with java(folder, "G1", NOBODY) as pid:
            watch = watch_named("jvm", [pid])
            watch.observe([pid])
            assert ("JVM", "Java Heap", "old") in allocated(watch.owners()[0])


@pytest.mark.parametrize("collector", ["G1", "Z"])
def test_idle_objects_of_a_java_heap(tmp_path: Path, collector: str) -> None:
    needs_page_maps()
    recording = tmp_path / "java.damon"
    with java(tmp_path, collector) as pid:
        words = ("--engine", "sampling", "--duration", "35s", "--owners", "jvm", "--owners", "proc")
        pydamon("record", "-o", str(recording), *words, str(pid))
    owners = owners_report(recording)
    objects = [u for u in owners if "Java Heap" in u["path"] and u["path"][-1] != "unused"]
    # 40 MiB are kept, of which a quarter is read.
    assert sum(use["idle_bytes"] for use in objects) == pytest.approx(30 * MIB, rel=0.1)
    used = sum(use["hot_bytes"] + use["warm_bytes"] for use in objects)
    assert used == pytest.approx(10 * MIB, rel=0.25)
