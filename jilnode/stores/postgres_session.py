"""The writer's session with PostgreSQL: one driver connection that holds the writer's lock as long as it lives."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Sequence

import asyncpg

from jilnode.kernel.errors import LockLost, WrongDatabase
from jilnode.stores.session import Record

__all__ = ("PostgresSession",)

_CONNECT_TIMEOUT_S = 10.0
_CHECKS_TIMEOUT_S = 10.0
_GRACE_S = 5.0
_CLOSE_TIMEOUT_S = 2.0

# An advisory lock belongs to its database; two nodes in two schemas of one database have two.
_LOCK_KEY = "hashtextextended('jilnode/writer/' || current_schema(), 0)"

_HOLDER = f"""
select a.pid, a.backend_start::text, a.application_name, coalesce(host(a.client_addr), 'this machine')
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
and l.database = (select oid from pg_database where datname = current_database())
and (l.classid::bigint << 32) + l.objid::bigint = {_LOCK_KEY}"""  # noqa: S608

# Each of these would lose an acknowledged commit, or change its bytes. Setting, values that are safe, what to do.
_SAFE_SETTINGS = (
    ("fsync", ("on",), "set fsync = on in postgresql.conf"),
    ("full_page_writes", ("on",), "set full_page_writes = on in postgresql.conf"),
    (
        "synchronous_commit",
        ("on", "remote_apply", "remote_write"),
        "set synchronous_commit = on for the server, this role and this database",
    ),
    ("server_encoding", ("UTF8",), "create the database with encoding UTF8"),
    ("transaction_read_only", ("off",), "connect to the primary server, read-write"),
)


class PostgresSession:
    """Made by ``connect``. Implements ``WriterSession``; ``run`` is the hot path."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", identity: tuple[int, str]) -> None:
        self._connection = connection
        self.identity = identity
        """(process id, start): which server process this session is, or was."""
        self._timeout_s: float | None = None

    @classmethod
    async def connect(
        cls, url: str, source: str, lock_wait_s: float, former: tuple[int, str] | None = None
    ) -> "PostgresSession":
        """A session with safe settings that holds the lock. ``url`` begins with ``postgresql://``; ``former`` is one of
        ours that may not have ended yet.

        Raises ``ConnectionError``, ``WrongDatabase`` or ``LockLost``.
        """
        settings = {
            "application_name": f"jilnode {source} writer"[:63],
            "client_encoding": "UTF8",
            "idle_session_timeout": "0",
            "jit": "off",
            "lock_timeout": str(max(1, int(lock_wait_s * 1000))),
            # The batch's statement is planned once, not on every commit; and a plan made while a table was still small
            # must not read the whole of it when it has grown.
            "enable_hashjoin": "off",
            "enable_mergejoin": "off",
            "enable_seqscan": "off",
            "plan_cache_mode": "force_generic_plan",
            # The session of a machine that has vanished ends, and with it its lock, within half a minute.
            "tcp_keepalives_count": "3",
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
        }
        try:
            connection = await asyncpg.connect(
                url,
                timeout=_CONNECT_TIMEOUT_S,
                statement_cache_size=1024,
                max_cached_statement_lifetime=0,
                max_cacheable_statement_size=0,
                server_settings=settings,
            )
        except (OSError, TimeoutError, ssl.SSLError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ConnectionError(f"PostgreSQL can't be reached: {error or type(error).__name__}") from error
        try:
            async with asyncio.timeout(_CHECKS_TIMEOUT_S + 2 * lock_wait_s):
                ((process, start),) = await connection.fetch(
                    "select pid, backend_start::text from pg_stat_activity where pid = pg_backend_pid()"
                )
                session = cls(connection, (process, start))
                await session._check_settings()
                await session._take_lock(former)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            connection.terminate()
            raise ConnectionError(f"PostgreSQL ended the new session: {error}") from error
        except BaseException:
            connection.terminate()
            raise
        return session

    async def _check_settings(self) -> None:
        for name, safe, remedy in _SAFE_SETTINGS:
            value = await self._connection.fetchval("select current_setting($1)", name)
            if value not in safe:
                raise WrongDatabase(f"PostgreSQL has {name} = {value}, which could lose or change commits: {remedy}")
        # As it is now it stays for this session, whatever is configured while the node runs.
        await self._connection.execute(
            "select set_config('synchronous_commit', current_setting('synchronous_commit'), false)"
        )

    async def _take_lock(self, former: tuple[int, str] | None) -> None:
        """Waits ``lock_wait_s`` for whoever has it; ends our own former session if it lingers, and nobody else's."""
        with contextlib.suppress(asyncpg.LockNotAvailableError):
            await self._connection.execute(f"select pg_advisory_lock({_LOCK_KEY})")
            return
        holders = await self._connection.fetch(_HOLDER)
        if former is not None and [(process, start) for process, start, _, _ in holders] == [former]:
            await self._connection.execute("select pg_terminate_backend($1)", former[0])
            with contextlib.suppress(asyncpg.LockNotAvailableError):
                await self._connection.execute(f"select pg_advisory_lock({_LOCK_KEY})")
                return
            raise ConnectionError(f"our former session (process {former[0]} of PostgreSQL) has not ended yet")
        who = ", ".join(
            [f"{name or 'a session'} from {host} (process {process})" for process, _, name, host in holders]
        )
        raise LockLost(
            f"another session writes this database: {who or 'it has just gone'}. Stop that node first, or give this one"
            " a database of its own (JIL_DATABASE_URL)"
        )

    async def bound_statements(self, timeout_s: float) -> None:
        """From now on PostgreSQL gives up a statement after ``timeout_s``, and this side a moment later: an error from
        the server is a known outcome, silence is not. Migrations, before this, may take what they need."""
        await self.fetch(f"set statement_timeout = {int(timeout_s * 1000)}")
        self._timeout_s = timeout_s + _GRACE_S

    @property
    def ended(self) -> bool:
        ended: bool = self._connection.is_closed()
        return ended

    async def run(self, sql: str, arguments: Sequence[object]) -> None:
        """One statement, in a transaction of its own. Raises whatever the driver raises."""
        await self._connection.fetch(sql, *arguments, timeout=self._timeout_s)

    async def fetch(self, sql: str, *arguments: object) -> Sequence[Record]:
        try:
            records: Sequence[Record] = await self._connection.fetch(sql, *arguments, timeout=self._timeout_s)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not self.ended and not isinstance(error, OSError):
                raise
            self.terminate()
            raise ConnectionError(f"PostgreSQL ended the writer's session: {error!r}") from error
        return records

    async def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        await self._connection.executemany(sql, rows)

    def transaction(self) -> contextlib.AbstractAsyncContextManager[object]:
        transaction: contextlib.AbstractAsyncContextManager[object] = self._connection.transaction()
        return transaction

    def terminate(self) -> None:
        """Ends it at once, without waiting for the server."""
        self._connection.terminate()

    async def close(self) -> None:
        try:
            await self._connection.close(timeout=_CLOSE_TIMEOUT_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()
