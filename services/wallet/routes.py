"""The wallet's HTTP routes, as data."""

from collections.abc import Callable, Mapping

import msgspec

from jilnode.limits import BATCH_CHUNK_ITEMS, BATCH_ITEMS_MAX
from jilnode.module import Query, Rejected, Write
from services.wallet import examples, listings, queries
from services.wallet.commands.accounts import named
from services.wallet.intents import (
    Burn,
    CreateAccount,
    CreateAsset,
    Issue,
    PostBatch,
    PostLinked,
    PostPending,
    PostTransfer,
    ReserveTransfer,
    SetFee,
    SetLimit,
    SetRoaming,
    SetStatus,
    VoidPending,
)
from services.wallet.rows import ACCOUNTS, PENDING
from services.wallet.views import AccountView, AssetView, BatchItem, BatchView, PendingView, SettingView, TransferView

__all__ = ("QUERIES", "WRITES")

BASE = "/v1/wallet"
_TRANSFER = PostTransfer("ch-zug-01~0-0000000004", "kestrel@sg-mas-01", "CHFX@ch-zug-01", "12.50", "invoice 2026-114")


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``{}``."""


class PostBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Empty ``amount``: all that is reserved."""

    amount: str = ""


def _post_pending(parameters: Mapping[str, str], body: PostBody) -> PostPending:
    return PostPending(parameters["id"], body.amount)


def _void_pending(parameters: Mapping[str, str], body: NoBody) -> VoidPending:
    return VoidPending(parameters["id"])


def _status(status: str) -> Callable[[Mapping[str, str], NoBody], SetStatus]:
    return lambda parameters, body: SetStatus(parameters["account"], status)


def _split(body: PostBatch) -> list[PostBatch]:
    """Chunks of a fixed size, so that a retry cuts the same way."""
    items = body.transfers
    if not 1 <= len(items) <= BATCH_ITEMS_MAX:
        raise Rejected("bad_count", f"1 to {BATCH_ITEMS_MAX} transfers", field="/transfers", status=400)
    return [PostBatch(items[i : i + BATCH_CHUNK_ITEMS]) for i in range(0, len(items), BATCH_CHUNK_ITEMS)]


def _join(replies: list[BatchView]) -> BatchView:
    items: list[BatchItem] = []
    for number, reply in enumerate(replies):
        offset = number * BATCH_CHUNK_ITEMS
        items += [msgspec.structs.replace(item, index=item.index + offset) for item in reply.items]
    return BatchView(replies[0].id, sum(r.posted for r in replies), sum(r.refused for r in replies), items)


WRITES = (
    Write(
        f"{BASE}/assets",
        CreateAsset,
        AssetView,
        "wallet:issue",
        "Create an asset that this node issues",
        example=CreateAsset("CHFX", 2),
        reply_example=examples.ASSET,
    ),
    Write(
        f"{BASE}/accounts",
        CreateAccount,
        AccountView,
        "wallet:transfer",
        "Open an account at this node",
        example=CreateAccount(handle="kestrel"),
        reply_example=examples.ACCOUNT,
    ),
    Write(
        f"{BASE}/issues",
        Issue,
        TransferView,
        "wallet:issue",
        "Issue money of an asset of this node",
        example=Issue("CHFX@ch-zug-01", "kestrel@ch-zug-01", "1000.00"),
        reply_example=examples.ISSUED,
    ),
    Write(
        f"{BASE}/burns",
        Burn,
        TransferView,
        "wallet:issue",
        "Burn money of an asset of this node",
        example=Burn("CHFX@ch-zug-01", "kestrel@ch-zug-01", "10.00"),
        reply_example=examples.BURNED,
    ),
    Write(
        f"{BASE}/transfers",
        PostTransfer,
        TransferView,
        "wallet:transfer",
        "Move money",
        hot=True,
        example=_TRANSFER,
        reply_example=examples.TRANSFER,
        description="Durable on this node once answered. `409 share_short`: the rest lies at another node, try again.",
    ),
    Write(
        f"{BASE}/transfers/pending",
        ReserveTransfer,
        PendingView,
        "wallet:transfer",
        "Reserve money for a transfer",
        example=ReserveTransfer("ch-zug-01~0-0000000004", "kestrel@sg-mas-01", "CHFX@ch-zug-01", "12.50", 600),
        reply_example=examples.RESERVED,
    ),
    Write(
        f"{BASE}/transfers/pending/{{id:str}}/post",
        PostBody,
        TransferView,
        "wallet:transfer",
        "Post a reserved transfer, whole or in part",
        command=_post_pending,
        example=PostBody("10.00"),
        reply_example=examples.TRANSFER,
    ),
    Write(
        f"{BASE}/transfers/pending/{{id:str}}/void",
        NoBody,
        PendingView,
        "wallet:transfer",
        "Give a reservation back",
        status=200,
        command=_void_pending,
        example=NoBody(),
        reply_example=examples.VOIDED,
    ),
    Write(
        f"{BASE}/transfers/linked",
        PostLinked,
        BatchView,
        "wallet:transfer",
        "Move money several times, all or none (at most 100)",
        example=PostLinked((_TRANSFER,)),
        reply_example=examples.LINKED,
    ),
    Write(
        f"{BASE}/transfers/batch",
        PostBatch,
        BatchView,
        "wallet:transfer",
        "Move money many times, each for itself (at most 1,000)",
        example=PostBatch((_TRANSFER,)),
        reply_example=examples.BATCH,
        split=_split,
        join=_join,
    ),
    Write(
        f"{BASE}/fees",
        SetFee,
        SettingView,
        "wallet:operate",
        "Set this node's fees on an asset",
        status=200,
        example=SetFee("CHFX@ch-zug-01", (("0", 30), ("10000.00", 10))),
        reply_example=examples.SETTING,
    ),
    Write(
        f"{BASE}/limits",
        SetLimit,
        SettingView,
        "wallet:operate",
        "Limit what an account may move",
        status=200,
        example=SetLimit("kestrel@ch-zug-01", "CHFX@ch-zug-01", single="500.00", daily="2000.00"),
        reply_example=examples.SETTING,
    ),
    Write(
        f"{BASE}/roaming",
        SetRoaming,
        SettingView,
        "wallet:transfer",
        "Allow an account's money to other nodes",
        status=200,
        example=SetRoaming("kestrel@ch-zug-01", "CHFX@ch-zug-01", "200.00", ("sg-mas-01",)),
        reply_example=examples.SETTING,
    ),
    *(
        Write(
            f"{BASE}/accounts/{{account:str}}/{verb}",
            NoBody,
            AccountView,
            "wallet:operate",
            f"{verb.capitalize()} an account, at its home",
            status=200,
            command=_status(status),
            example=NoBody(),
            reply_example=msgspec.structs.replace(examples.ACCOUNT, status=status),
            description="Ask for the account's `status` to see at which nodes it is in force already.",
        )
        for verb, status in (("freeze", "frozen"), ("unfreeze", "active"), ("close", "closed"))
    ),
)

QUERIES = (
    Query(
        f"{BASE}/assets",
        queries.NoParams,
        queries.Assets,
        "wallet:read",
        "All assets known here",
        queries.assets,
        reply_example=examples.ASSETS,
    ),
    Query(
        f"{BASE}/accounts",
        listings.PageParams,
        listings.Accounts,
        "wallet:read",
        "Your accounts",
        listing=listings.accounts,
        reply_example=examples.ACCOUNTS,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/terms",
        queries.TermsParams,
        queries.Terms,
        "wallet:read",
        "Limits and roaming of an account and asset",
        queries.terms,
        example=queries.TermsParams("kestrel@ch-zug-01", "CHFX@ch-zug-01"),
        reply_example=examples.TERMS,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}",
        queries.AccountParams,
        AccountView,
        "wallet:read",
        "One account",
        queries.account,
        etag=lambda params: (ACCOUNTS, named(params.account)[0]),
        example=queries.AccountParams(examples.ACCOUNT.id),
        reply_example=examples.ACCOUNT,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/balances",
        queries.AccountParams,
        queries.Balances,
        "wallet:read",
        "What an account has: available, pending, in transit, here and elsewhere",
        queries.balances,
        example=queries.AccountParams("kestrel@ch-zug-01"),
        reply_example=examples.BALANCES,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/history",
        listings.HistoryParams,
        listings.History,
        "wallet:read",
        "An account's transfers, newest first",
        listing=listings.history,
        example=listings.HistoryParams("kestrel@ch-zug-01"),
        reply_example=examples.HISTORY,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/pending",
        listings.HistoryParams,
        listings.Pendings,
        "wallet:read",
        "An account's reserved transfers, open and resolved, newest first",
        listing=listings.pendings,
        example=listings.HistoryParams("kestrel@ch-zug-01"),
        reply_example=examples.PENDINGS,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/statement",
        listings.HistoryParams,
        listings.Statement,
        "wallet:read",
        "An account's transfers as signed lines, newest first",
        listing=listings.statement,
        example=listings.HistoryParams("kestrel@ch-zug-01"),
        reply_example=examples.STATEMENT,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/status",
        queries.AccountParams,
        queries.FreezeState,
        "wallet:read",
        "An account's status, and at which nodes it is in force",
        queries.freeze_state,
        example=queries.AccountParams("kestrel@ch-zug-01"),
        reply_example=examples.STATUS,
    ),
    Query(
        f"{BASE}/quotes",
        queries.QuoteParams,
        queries.Quote,
        "wallet:read",
        "What a transfer costs",
        queries.quote,
        example=queries.QuoteParams("CHFX@ch-zug-01", "12.50"),
        reply_example=examples.QUOTE,
    ),
    Query(
        f"{BASE}/transfers/{{id:str}}",
        queries.IdParams,
        TransferView,
        "wallet:read",
        "One transfer",
        listing=listings.transfer,
        example=queries.IdParams(examples.TRANSFER.id),
        reply_example=examples.HISTORY.items[0],
    ),
    Query(
        f"{BASE}/transfers/pending/{{id:str}}",
        queries.IdParams,
        PendingView,
        "wallet:read",
        "One reserved transfer",
        queries.pending,
        etag=lambda params: (PENDING, params.id.replace("~", "/")),
        example=queries.IdParams(examples.RESERVED.id),
        reply_example=examples.RESERVED,
    ),
)
