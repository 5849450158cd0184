"""What the routes answer, as the node's document shows it."""

import msgspec

from services.wallet import listings, queries
from services.wallet.views import (
    AccountView,
    AssetView,
    BalanceView,
    BatchItem,
    BatchView,
    NodePart,
    PendingView,
    Posted,
    SettingView,
    TransferView,
)

ASSET = AssetView("CHFX@ch-zug-01", 2, "token", "1000.00", "10.00")
ACCOUNT = AccountView(
    "ch-zug-01~0-0000000004", "u-4711", "CH_FINMA", "kestrel@ch-zug-01", "active", "user", "ch-zug-01"
)
_AT_US = 1_795_415_580_000_000
TRANSFER = TransferView(
    "ch-zug-01~0-000000002a",
    ACCOUNT.id,
    "sg-mas-01~0-0000000007",
    ASSET.asset,
    "12.50",
    "0.04",
    "transfer",
    _AT_US,
    "invoice 2026-114",
    Posted("87.46", "0.00"),
)
ISSUED = msgspec.structs.replace(
    TRANSFER, debit="", credit=ACCOUNT.id, fee="0.00", kind="issue", reference="", debit_balance=None
)
BURNED = msgspec.structs.replace(TRANSFER, credit="", fee="0.00", kind="burn", reference="")
RESERVED = PendingView(
    "ch-zug-01~0-000000002b",
    ACCOUNT.id,
    TRANSFER.credit,
    ASSET.asset,
    "12.50",
    "0.04",
    "open",
    "0.00",
    _AT_US + 600_000_000,
    "invoice 2026-114",
)
VOIDED = msgspec.structs.replace(RESERVED, status="voided", reference=None)
LINKED = BatchView("ch-zug-01~0-000000002c", 1, 0, [BatchItem(0, "ch-zug-01~0-000000002c-1")])
BATCH = BatchView(
    "ch-zug-01~0-000000002d",
    1,
    1,
    [
        BatchItem(0, "ch-zug-01~0-000000002d-1"),
        BatchItem(1, code="insufficient_funds", detail="the account does not have that much", field="/amount"),
    ],
)
SETTING = SettingView("ch-zug-01~0-0000000004~CHFX@ch-zug-01")
BALANCES = queries.Balances(
    ACCOUNT.id,
    [
        BalanceView(
            ASSET.asset,
            "87.46",
            "12.54",
            "0.00",
            "100.00",
            "67.46",
            [NodePart("ch-zug-01", "67.46", "12.54", 0), NodePart("sg-mas-01", "20.00", "0.00", 850)],
        )
    ],
)
TERMS = queries.Terms(
    ACCOUNT.id,
    ASSET.asset,
    queries.LimitView("500.00", "2000.00", "0.00", 0, 0, "12.50"),
    queries.RoamingView("200.00", "0.00", "20.00", ("sg-mas-01",), _AT_US + 86_400_000_000),
)
STATUS = queries.FreezeState(
    ACCOUNT.id, "frozen", [queries.NodeFreeze("ch-zug-01", True), queries.NodeFreeze("sg-mas-01", False)]
)
QUOTE = queries.Quote(ASSET.asset, "12.50", "0.04", "12.54")
ASSETS = queries.Assets([ASSET])
ACCOUNTS = listings.Accounts([ACCOUNT], None)
HISTORY = listings.History([msgspec.structs.replace(TRANSFER, debit_balance=None)], None)
PENDINGS = listings.Pendings([RESERVED], None)
STATEMENT = listings.Statement(
    ACCOUNT.id,
    [
        listings.StatementLine(
            TRANSFER.id, "transfer", ASSET.asset, "-12.54", "0.04", TRANSFER.credit, _AT_US, TRANSFER.reference
        )
    ],
    None,
)
