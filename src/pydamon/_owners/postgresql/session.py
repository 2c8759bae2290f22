"""Ask a running PostgreSQL for its shared memory: read-only queries with a time limit."""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetError, UsageError
from pydamon._owners.as_user import thread_as_user, user_of
from pydamon._owners.postgresql.layout import BUFFER_ROW, RelationNames, SharedAllocation

if TYPE_CHECKING:
    import psycopg

__all__ = ["Backend", "Session", "dsn_of"]

_TIMEOUT_MS = 5000
_CONNECT_SECONDS = 5
_OPTIONS = f"-c default_transaction_read_only=on -c statement_timeout={_TIMEOUT_MS}"
_ALLOCATIONS = """
    select coalesce(name, '(not allocated)'), off, size from pg_shmem_allocations
    where off is not null
"""
_BUFFERS = """
    select string_agg(
        int8send(bufferid) || int8send(coalesce(reldatabase, 0)::int8)
        || int8send(coalesce(reltablespace, 0)::int8) || int8send(coalesce(relfilenode, 0)::int8)
        || int8send(case when relfilenode is null then -1 else relforknumber end), ''
    ) from pg_buffercache
"""
"""All buffers as one value: millions of rows would take seconds to read one by one."""
_RELATIONS = """
    select pg_relation_filenode(relation.oid)::int8,
           coalesce(nullif(relation.reltablespace, 0), database.dattablespace)::int8,
           relation.relisshared, schema.nspname,
           coalesce(parent.relname, toasted.relname, relation.relname),
           case when relation.relkind = 'i' then 'index ' || relation.relname
                when toasted.oid is not null and parent.oid is null then 'toast'
                when relation.relkind = 'm' then 'materialized view'
                when relation.relkind = 'S' then 'sequence'
                else 'table' end
    from pg_class relation
    join pg_database database on database.datname = current_database()
    left join pg_index pg_index on pg_index.indexrelid = relation.oid
    left join pg_class parent on parent.oid = pg_index.indrelid
    left join pg_class toasted
         on toasted.reltoastrelid = coalesce(parent.oid, relation.oid)
    join pg_namespace schema
         on schema.oid = coalesce(toasted.relnamespace, parent.relnamespace, relation.relnamespace)
    where pg_relation_filenode(relation.oid) is not null
"""
_DATABASES = """
    select oid::int8, datname, datallowconn and has_database_privilege(oid, 'connect')
    from pg_database order by datname
"""
"""The last column says whether this user may connect."""
_OWN = "select oid::int8 from pg_database where datname = current_database()"
_CONNECTIONS = "select coalesce(sum((to_jsonb(d) ->> 'sessions')::int8), 0) from pg_stat_database d"
"""The column `sessions` came with PostgreSQL 14; without it, none is counted."""
_BACKENDS = """
    select pid, coalesce(backend_type, 'process'),
           case when application_name = 'pydamon' then 'of pydamon itself'
                else coalesce(usename || '@' || datname, '') end
    from pg_stat_activity where pid is not null
"""


class Backend(NamedTuple):
    """A process of the server, with the server's own pid for it: what it does, and for whom."""

    pid: int
    kind: str
    client: str


def dsn_of(postmaster: int) -> str:
    """How to connect to a server: to its socket, as the user that it runs as.

    The postmaster runs in its data directory, whose `postmaster.pid` has the port in line 4 and the
    folder of the socket in line 5.
    """
    folder = Path(f"/proc/{postmaster}/cwd")
    try:
        lines = (folder / "postmaster.pid").read_text().split("\n")
        user = pwd.getpwuid(user_of(postmaster)).pw_name
        port, socket = lines[3].strip(), lines[4].strip()
    except (OSError, IndexError, KeyError) as error:
        raise TargetError(
            f"cannot find out how to connect to the PostgreSQL of process {postmaster}: {error}",
            hint="name the connection: --owners postgresql=DSN, as for psql",
        ) from None
    return f"host={socket or 'localhost'} port={port} user={user} dbname=postgres"


class Session:
    """A connection to a server, and to its databases for the names of their tables.

    Parameters
    ----------
    dsn
        Connection string or URI, as psql takes it.
    uid
        Root connects as this user, because servers often admit the owner of their files only.
    """

    def __init__(self, dsn: str, uid: int) -> None:
        self._dsn, self._uid = dsn, uid
        self._names = RelationNames({}, {})
        self._asked: set[tuple[int, int]] = set()
        self._opened = 0
        with ExitStack() as stack:
            self._connection = stack.enter_context(closing(self._connect()))
            self._has_buffers = stack.enter_context(closing(self._find_extension()))
            self.allocations = [SharedAllocation(*row) for row in self._rows(_ALLOCATIONS)]
            self.block_bytes = int(self._rows("show block_size")[0][0])
            self._own = int(self._rows(_OWN)[0][0])
            self._open = stack.pop_all()

    def buffers(self) -> NDArray[np.void]:
        """What each buffer holds."""
        with _explained(), self._has_buffers.cursor(binary=True) as cursor:
            rows = cursor.execute(_BUFFERS).fetchall()
        return np.frombuffer(rows[0][0], BUFFER_ROW)

    def connections(self) -> int:
        """How many connections began since the statistics began, other than those of pydamon."""
        return int(self._rows(_CONNECTIONS)[0][0]) - self._opened

    def backends(self) -> list[Backend]:
        """The processes of the server."""
        return [Backend(*row) for row in self._rows(_BACKENDS)]

    def names_for(self, buffers: NDArray[np.void]) -> RelationNames:
        """The names of the relations in the buffers; new files are looked up once."""
        columns = [buffers[name].astype(np.int64) for name in ("database", "relation")]
        pairs = np.unique(np.stack(columns, axis=1), axis=0).tolist()
        fresh = {(int(database), int(file)) for database, file in pairs} - self._asked
        self._asked |= fresh
        if fresh:
            # Catalogs that databases share have the number 0: every database knows their names.
            wanted = {database or self._own for database, file in fresh if file}
            for database, name, admits in self._rows(_DATABASES):
                self._names.databases[database] = name
                if admits and database in wanted:
                    self._look_up(database, name)
        return self._names

    def close(self) -> None:
        """Close the connections."""
        self._open.close()

    def _connect(self, **changes: str) -> psycopg.Connection[Any]:
        try:
            import psycopg  # noqa: PLC0415
        except ImportError:
            raise UsageError(
                "asking PostgreSQL needs the package psycopg",
                hint="pip install 'pydamon[postgresql]'",
            ) from None
        try:
            known = psycopg.conninfo.make_conninfo(
                self._dsn,
                options=_OPTIONS,
                application_name="pydamon",
                connect_timeout=_CONNECT_SECONDS,
                **changes,
            )
            with thread_as_user(self._uid):
                connection = psycopg.connect(known, autocommit=True)
        except psycopg.Error as error:
            message = str(error).strip().split("\n")[0]
            raise TargetError(
                f"cannot connect to PostgreSQL: {message}",
                hint="name the connection: --owners postgresql=DSN, as for psql",
            ) from None
        self._opened += 1
        return connection

    def _find_extension(self) -> psycopg.Connection[Any]:
        """A connection to a database that has the extension pg_buffercache."""
        has = "select 1 from pg_extension where extname = 'pg_buffercache'"
        if self._rows(has):
            return self._connection
        for name in [name for _, name, admits in self._rows(_DATABASES) if admits]:
            with ExitStack() as stack:
                connection = stack.enter_context(closing(self._connect(dbname=name)))
                if self._rows(has, connection):
                    stack.pop_all()
                    return connection
        raise TargetError(
            "no database of this PostgreSQL has the extension pg_buffercache, which tells what the"
            " buffers hold",
            hint="as a superuser: CREATE EXTENSION pg_buffercache",
        )

    def _look_up(self, database: int, name: str) -> None:
        """Remember the names of all relations of a database."""
        if database == self._own:
            rows = self._rows(_RELATIONS)
        else:
            with closing(self._connect(dbname=name)) as connection:
                rows = self._rows(_RELATIONS, connection)
        for file, tablespace, is_shared, schema, relation, part in rows:
            owner = "(shared catalogs)" if is_shared else name
            key = (0 if is_shared else database, tablespace, file)
            self._names.paths[key] = (owner, f"{schema}.{relation}", part)

    def _rows(
        self, query: str, connection: psycopg.Connection[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """The answer to a query, by default of the database that was named."""
        with _explained():
            rows: list[tuple[Any, ...]] = (connection or self._connection).execute(query).fetchall()
        return rows


@contextmanager
def _explained() -> Iterator[None]:
    """Say in one line why PostgreSQL refused a query."""
    import psycopg  # noqa: PLC0415

    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        message = str(error).strip().split("\n")[0]
        raise TargetError(
            f"PostgreSQL refuses: {message}", hint="as a superuser: GRANT pg_monitor TO the user"
        ) from None
    except psycopg.Error as error:
        message = str(error).strip().split("\n")[0]
        raise TargetError(f"PostgreSQL does not answer: {message}") from None
