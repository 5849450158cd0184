"""What the node is measured beside: the same decision on dicts with no store, and one ORM transaction a request.

``python -m scripts.benchmark.reference memory PORT`` or ``classic PORT DATABASE_URL``.
"""

import sys
from typing import Any

import msgspec
import uvicorn
import uvloop
from sqlalchemy import BigInteger, String, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Transfer(msgspec.Struct, forbid_unknown_fields=True):
    debit: str
    credit: str
    asset: str
    amount: str


class Done(msgspec.Struct):
    id: str
    debit: str
    credit: str
    amount: str


decode = msgspec.json.Decoder(Transfer).decode
encode = msgspec.json.Encoder().encode


async def body_of(receive: Any) -> bytes:
    parts = b""
    while True:
        message = await receive()
        parts += message.get("body", b"")
        if not message.get("more_body"):
            return parts


async def answer(send: Any, data: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def memory_app() -> Any:
    balances: dict[str, int] = {}
    keys: dict[bytes, bytes] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        transfer = decode(await body_of(receive))
        key = dict(scope["headers"])[b"idempotency-key"]
        data = keys.get(key)
        if data is None:
            whole, _, decimals = transfer.amount.partition(".")
            amount = int(whole + decimals.ljust(2, "0"))
            balances[transfer.debit] = balances.get(transfer.debit, 10**12) - amount
            balances[transfer.credit] = balances.get(transfer.credit, 10**12) + amount
            data = keys[key] = encode(Done(str(len(keys)), transfer.debit, transfer.credit, transfer.amount))
        await answer(send, data)

    return app


class Base(DeclarativeBase):
    pass


class Balance(Base):
    __tablename__ = "balance"
    account: Mapped[str] = mapped_column(String, primary_key=True)
    amount: Mapped[int] = mapped_column(BigInteger)


class Posted(Base):
    __tablename__ = "posted"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(String, unique=True)
    debit: Mapped[str] = mapped_column(String, index=True)
    credit: Mapped[str] = mapped_column(String, index=True)
    amount: Mapped[int] = mapped_column(BigInteger)


class Event(Base):
    __tablename__ = "event"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    header: Mapped[str] = mapped_column(String)
    rows: Mapped[str] = mapped_column(String)


async def classic_app(url: str) -> Any:
    engine = create_async_engine(url, pool_size=16, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        transfer = decode(await body_of(receive))
        key = dict(scope["headers"])[b"idempotency-key"].decode()
        async with sessions() as session, session.begin():
            amount = int(transfer.amount.replace(".", ""))
            names = sorted((transfer.debit, transfer.credit))
            query = select(Balance).where(Balance.account.in_(names)).order_by(Balance.account).with_for_update()
            found = {row.account: row for row in (await session.execute(query)).scalars()}
            found[transfer.debit].amount -= amount
            found[transfer.credit].amount += amount
            session.add(Posted(key=key, debit=transfer.debit, credit=transfer.credit, amount=amount))
            session.add(Event(header="h" * 600, rows="r" * 700))
        await answer(send, encode(Done(key, transfer.debit, transfer.credit, transfer.amount)))

    return app


async def fill_classic(url: str, accounts: list[str]) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(Balance.__table__.insert(), [{"account": name, "amount": 10**12} for name in accounts])
    await engine.dispose()


async def main(kind: str, port: int, url: str = "") -> None:
    app = memory_app() if kind == "memory" else await classic_app(url)
    config = uvicorn.Config(
        app, port=port, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
