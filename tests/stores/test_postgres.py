"""PostgreSQL: settings that keep what was committed, the lock in the writer's session, and servers that die."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from jilnode.kernel.errors import CommitFailed, CommitRefused, CommitUnknown, LockLost, WrongDatabase
from jilnode.kernel.ports import Store, Wanted
from jilnode.stores.postgres import PostgresStore
from tests.kit.certificates import Authority
from tests.kit.postgres import PostgresServer
from tests.kit.wait import eventually
from tests.stores.backends import Opener
from tests.stores.tables import SHARES, SOURCE, TRANSFERS, Share, Transfer, commit_of

ONE_ROW = [(SHARES, "k", Share("a", 1))]


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.database()


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


def writer_of(postgres: PostgresServer, url: str, column: str = "pid") -> str:
    return postgres.psql(
        f"select {column} from pg_stat_activity where datname = '{name_of(url)}' and application_name like '% writer'"
    )


@asynccontextmanager
async def shares_locked(url: str) -> AsyncIterator[None]:
    """Whoever writes a share waits."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        async with connection.transaction():
            await connection.execute(f'lock table "{SHARES.name}" in exclusive mode')
            yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError):
        # The test killed the server.
        pass
    finally:
        connection.terminate()


async def commit_that_waits(postgres: PostgresServer, url: str, store: Store, sequence: int) -> asyncio.Task[None]:
    commit = asyncio.create_task(store.commit(commit_of(sequence, ONE_ROW)))
    await eventually(lambda: writer_of(postgres, url, "wait_event_type") == "Lock")
    return commit


@pytest.mark.parametrize("row", [(TRANSFERS, "t/kestrel", Transfer("a", "b")), (SHARES, "k", Share("a", "kestrel"))])  # type: ignore[arg-type]
async def test_what_is_said_of_a_refused_batch_quotes_no_row(url: str, opened: Opener, row: Any) -> None:
    """It goes into the log; the server quotes a key that is there already, the driver a value that it can't send."""
    store = await opened(PostgresStore(url))
    await store.commit(commit_of(0, [(TRANSFERS, "t/kestrel", Transfer("a", "b"))]))
    with pytest.raises(CommitRefused) as refused:
        await store.commit(commit_of(1, [row]))
    assert "kestrel" not in str(refused.value)


# Settings


@pytest.mark.parametrize(
    "setting", ["synchronous_commit = off", "synchronous_commit = local", "default_transaction_read_only = on"]
)
async def test_a_database_setting_that_loses_commits_is_refused(
    postgres: PostgresServer, url: str, opened: Opener, setting: str
) -> None:
    postgres.psql(f"alter database {name_of(url)} set {setting}")
    with pytest.raises(WrongDatabase, match=setting.split()[0].removeprefix("default_")):
        await opened(PostgresStore(url))


async def test_a_role_setting_that_loses_commits_is_refused(postgres: PostgresServer, url: str, opened: Opener) -> None:
    role = f"role_{name_of(url)}"
    postgres.psql(f"create role {role} login superuser password 'secret'")
    postgres.psql(f"alter role {role} set synchronous_commit = off")
    _, _, address = url.rpartition("@")
    with pytest.raises(WrongDatabase, match="synchronous_commit = off"):
        await opened(PostgresStore(f"postgresql+asyncpg://{role}:secret@{address}"))


@contextmanager
def server_setting(postgres: PostgresServer, name: str, value: str) -> Iterator[None]:
    postgres.psql(f"alter system set {name} = {value}")
    postgres.psql("select pg_reload_conf()")
    try:
        yield
    finally:
        postgres.psql(f"alter system reset {name}")
        postgres.psql("select pg_reload_conf()")


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
async def test_a_server_that_loses_commits_is_refused(
    postgres: PostgresServer, url: str, opened: Opener, name: str
) -> None:
    with server_setting(postgres, name, "off"):
        await eventually(lambda: postgres.psql(f"show {name}") == "off")
        with pytest.raises(WrongDatabase, match=f"{name} = off"):
            await opened(PostgresStore(url))
    await eventually(lambda: postgres.psql(f"show {name}") == "on")


async def test_a_setting_that_is_changed_later_does_not_reach_the_writer(
    postgres: PostgresServer, url: str, opened: Opener
) -> None:
    store = await opened(PostgresStore(url))
    with server_setting(postgres, "synchronous_commit", "off"):
        await eventually(lambda: postgres.psql("show synchronous_commit") == "off")
        await store.commit(commit_of(0, ONE_ROW))
        records = await store._session.fetch("show synchronous_commit")
        assert [tuple(record) for record in records] == [("on",)]
    await eventually(lambda: postgres.psql("show synchronous_commit") == "on")


SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def behind_tls(postgres: PostgresServer, authority: Authority) -> AsyncIterator[int]:
    """A port where PostgreSQL is reached over TLS only. (The wheel's server is built without.)"""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue("postgres"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(8) == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                there, back = await asyncio.open_connection("127.0.0.1", postgres.port)
                await asyncio.gather(pass_on(reader, back), pass_on(there, writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_writer_and_readers_speak_tls_as_the_url_says(
    postgres: PostgresServer, url: str, opened: Opener, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    async with behind_tls(postgres, authority) as port:
        address = url.replace(f":{postgres.port}/", f":{port}/")
        store = await opened(PostgresStore(f"{address}?sslmode=verify-full&sslrootcert={authority.certificate}"))
        await store.commit(commit_of(0, ONE_ROW))
        assert (await store.page([SHARES], [("account", "a")], after=None, limit=9)).items
        await store.close()


async def test_a_server_that_does_not_prove_its_name_is_not_believed(
    postgres: PostgresServer, url: str, opened: Opener, tmp_path: Path
) -> None:
    for name in ("its", "other"):
        (tmp_path / name).mkdir()
    other = Authority(tmp_path / "other")
    async with behind_tls(postgres, Authority(tmp_path / "its")) as port:
        address = url.replace(f":{postgres.port}/", f":{port}/")
        with pytest.raises(ConnectionError, match="certificate"):
            await opened(PostgresStore(f"{address}?sslmode=verify-full&sslrootcert={other.certificate}"))
    with pytest.raises(ConnectionError, match="SSL"):
        await opened(PostgresStore(f"{url}?sslmode=verify-full&sslrootcert={other.certificate}"))


async def test_a_url_that_is_not_understood_is_said(url: str, opened: Opener) -> None:
    with pytest.raises(ConnectionError, match="colour"):
        await opened(PostgresStore(f"{url}?colour=blue"))
    with pytest.raises(ConnectionError, match="sslmode"):
        await opened(PostgresStore(f"{url}?sslmode=maybe"))


async def test_another_encoding_is_refused(postgres: PostgresServer, url: str, opened: Opener) -> None:
    ascii_name = f"{name_of(url)}_ascii"
    postgres.psql(f"create database {ascii_name} encoding 'SQL_ASCII' template template0")
    with pytest.raises(WrongDatabase, match="SQL_ASCII"):
        await opened(PostgresStore(postgres.url(ascii_name)))


async def test_a_role_that_may_not_make_tables_is_told(postgres: PostgresServer, url: str, opened: Opener) -> None:
    role = f"guest_{name_of(url)}"
    postgres.psql(f"create role {role} login password 'secret'")
    _, _, address = url.rpartition("@")
    with pytest.raises(WrongDatabase, match="permission denied"):
        await opened(PostgresStore(f"postgresql+asyncpg://{role}:secret@{address}"))


# The lock


async def test_the_refusal_names_the_holder(postgres: PostgresServer, url: str, opened: Opener) -> None:
    await opened(PostgresStore(url))
    with pytest.raises(LockLost, match=f"jilnode node-a writer.*process {writer_of(postgres, url)}"):
        await opened(PostgresStore(url, lock_wait_s=0.1))


async def test_two_databases_of_one_server_have_two_writers(postgres: PostgresServer, url: str, opened: Opener) -> None:
    await opened(PostgresStore(url))
    await opened(PostgresStore(postgres.database()))


async def test_a_writer_that_lost_its_lock_to_another_stops(postgres: PostgresServer, url: str, opened: Opener) -> None:
    first = await opened(PostgresStore(url, lock_wait_s=0.1))
    postgres.psql(f"select pg_terminate_backend({writer_of(postgres, url)}, 5000)")
    second = await opened(PostgresStore(url))
    await second.commit(commit_of(0))
    with pytest.raises(CommitUnknown):
        await first.commit(commit_of(0))
    with pytest.raises(LockLost):
        await first.reopen()


async def test_reopen_ends_its_own_former_session_that_lingers(
    postgres: PostgresServer, url: str, opened: Opener
) -> None:
    store = await opened(PostgresStore(url, lock_wait_s=0.5))
    await store.commit(commit_of(0))
    former = writer_of(postgres, url)
    # While its statement waits for a lock, it doesn't notice that its client has gone.
    async with shares_locked(url):
        commit = await commit_that_waits(postgres, url, store, 1)
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        with pytest.raises(CommitUnknown):
            await store.commit(commit_of(2))
        await store.reopen()
        assert writer_of(postgres, url) != former
    assert await store.heads() == {SOURCE: (0, 1)}
    await store.commit(commit_of(1, ONE_ROW))


# Failures


async def test_a_lock_that_does_not_come_free_is_a_known_failure(url: str, opened: Opener) -> None:
    store = await opened(PostgresStore(url, lock_wait_s=0.1))
    async with shares_locked(url):
        with pytest.raises(CommitFailed, match="lock timeout") as failed:
            await store.commit(commit_of(0, ONE_ROW))
    assert failed.type is CommitFailed, "another time it may be taken"
    await store.commit(commit_of(0, ONE_ROW))


async def test_a_statement_that_takes_too_long_is_a_known_failure(url: str, opened: Opener) -> None:
    store = await opened(PostgresStore(url, commit_timeout_s=0.1))
    async with shares_locked(url):
        with pytest.raises(CommitFailed, match="statement timeout") as failed:
            await store.commit(commit_of(0, ONE_ROW))
    assert failed.type is CommitFailed, "another time it may be taken"
    await store.commit(commit_of(0, ONE_ROW))


async def test_what_the_driver_cannot_send_is_a_known_failure(url: str, opened: Opener) -> None:
    store = await opened(PostgresStore(url))
    commit = commit_of(0, ONE_ROW)
    commit.writes[SHARES][0] = commit.writes[SHARES][0]._replace(columns=(7, 1, None, None))
    with pytest.raises(CommitRefused):
        await store.commit(commit)
    commit = commit_of(0, ONE_ROW)
    commit.writes[SHARES][0] = commit.writes[SHARES][0]._replace(doc=b'{"account":"a\x1eb","amount":1}')
    with pytest.raises(CommitRefused):
        await store.commit(commit)
    await store.commit(commit_of(0, ONE_ROW))


async def test_a_session_that_was_ended_while_idle(postgres: PostgresServer, url: str, opened: Opener) -> None:
    store = await opened(PostgresStore(url))
    await store.commit(commit_of(0))
    postgres.psql(f"select pg_terminate_backend({writer_of(postgres, url)}, 5000)")
    with pytest.raises(ConnectionError):
        await store.load(Wanted(rows={SHARES: {"k"}}))
    with pytest.raises(CommitUnknown):
        await store.commit(commit_of(1))
    await store.reopen()
    assert await store.heads() == {SOURCE: (0, 1)}
    await store.commit(commit_of(1))


async def test_no_server_is_told_plainly(opened: Opener) -> None:
    with pytest.raises(ConnectionError, match="can't be reached"):
        await opened(PostgresStore("postgresql+asyncpg://nobody@127.0.0.1:1/none"))


async def test_kill_9_before_a_commit_is_durable(postgres: PostgresServer, url: str, opened: Opener) -> None:
    store = await opened(PostgresStore(url))
    await store.commit(commit_of(0))
    try:
        async with shares_locked(url):
            commit = await commit_that_waits(postgres, url, store, 1)
            postgres.kill()
            with pytest.raises(CommitUnknown):
                await commit
        with pytest.raises(CommitUnknown):
            await store.commit(commit_of(2))
        with pytest.raises(ConnectionError):
            await store.reopen()
        with pytest.raises(ConnectionError):
            await store.heads()
    finally:
        postgres.start()
    await store.reopen()
    assert await store.heads() == {SOURCE: (0, 1)}
    assert await store.get(SHARES, ["k"]) == {}
    await store.commit(commit_of(1, ONE_ROW))


async def test_kill_9_after_a_commit_is_durable(postgres: PostgresServer, url: str, opened: Opener) -> None:
    """A commit that waits for a standby that never comes is durable here, and not yet answered."""
    store = await opened(PostgresStore(url))
    sequence = 0
    try:
        with server_setting(postgres, "synchronous_standby_names", "nobody"):
            while True:
                commit = asyncio.create_task(store.commit(commit_of(sequence, ONE_ROW)))
                await eventually(lambda: commit.done() or writer_of(postgres, url, "wait_event") == "SyncRep")  # noqa: B023
                if not commit.done():
                    break
                sequence += 1
            postgres.psql("alter system reset synchronous_standby_names")
            postgres.kill()
            with pytest.raises(CommitUnknown):
                await commit
            postgres.start()
    finally:
        postgres.start()
    await store.reopen()
    assert await store.heads() == {SOURCE: (0, sequence + 1)}
    assert list(await store.get(SHARES, ["k"])) == ["k"]
    await store.commit(commit_of(sequence + 1))


async def test_reads_go_on_after_a_restart(postgres: PostgresServer, url: str, opened: Opener) -> None:
    store = await opened(PostgresStore(url))
    await store.commit(commit_of(0, ONE_ROW))
    await asyncio.gather(*[store.get(SHARES, ["k"]) for _ in range(8)])
    postgres.restart()
    images = await asyncio.gather(*[store.get(SHARES, ["k"]) for _ in range(8)])
    assert all(image.keys() == {"k"} for image in images)
