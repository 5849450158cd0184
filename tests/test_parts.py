"""The real parts are real: each is used, killed, and used again."""

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from redis.asyncio import Redis

from tests.kit.kafka import KafkaBroker
from tests.kit.postgres import PostgresServer
from tests.kit.valkey import ValkeyServer
from tests.kit.wait import eventually, wait_until


def _dsn(url: str) -> str:
    return url.replace("+asyncpg", "")


async def test_postgres_keeps_what_was_committed_through_kill(postgres: PostgresServer) -> None:
    url = _dsn(postgres.database())
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT 1") == 1
    assert await connection.fetchval("SHOW fsync") == "on"
    assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    await connection.execute("CREATE TABLE kept (n int)")
    await connection.execute("INSERT INTO kept VALUES (7)")

    postgres.kill()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.execute("INSERT INTO kept VALUES (8)")
    postgres.start()

    connection = await asyncpg.connect(url)
    assert await connection.fetch("SELECT n FROM kept") == [(7,)]
    await connection.close()


def test_postgres_databases_are_separate(postgres: PostgresServer) -> None:
    assert postgres.database() != postgres.database()


async def test_kafka_keeps_what_was_acknowledged_through_kill(kafka: KafkaBroker) -> None:
    topic = await kafka.topic()
    producer = AIOKafkaProducer(**kafka.client(), enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"before", partition=0)
        kafka.kill()
        kafka.start()
        await producer.send_and_wait(topic, b"after", partition=0)
    finally:
        await producer.stop()

    consumer = AIOKafkaConsumer(topic, **kafka.client(), auto_offset_reset="earliest")
    await consumer.start()
    try:
        assert [(await consumer.getone()).value for _ in range(2)] == [b"before", b"after"]
    finally:
        await consumer.stop()


async def test_tls_kafka_knows_its_clients(tls_kafka: KafkaBroker) -> None:
    topic = await tls_kafka.topic()
    await tls_kafka.allow("alice", "write", topic)
    producer = AIOKafkaProducer(**tls_kafka.client("alice"))
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"granted", partition=0)
        await tls_kafka.deny("alice", "write", topic)
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(topic, b"revoked", partition=0)
    finally:
        await producer.stop()

    nobody = AIOKafkaProducer(**tls_kafka.client(None))
    with pytest.raises(KafkaConnectionError):
        await nobody.start()
    await nobody.stop()


async def test_valkey_starts_empty_after_kill(valkey: ValkeyServer) -> None:
    async with Redis.from_url(valkey.url) as client:
        assert await client.ping()
        await client.set("name", "value")
    valkey.kill()
    valkey.start()
    async with Redis.from_url(valkey.url) as client:
        assert await client.get("name") is None


async def test_waiting_ends_with_the_answer_or_the_last_problem() -> None:
    answers = iter([0, 0, 3])
    assert await eventually(lambda: next(answers)) == 3

    def never() -> bool:
        raise AssertionError("two of three")

    with pytest.raises(AssertionError, match="two of three"):
        wait_until(never, 0.05)
