"""The stage of the simulated exchange: assets, markets, pools, accounts and money, built through the same faults as all
else, and built again where a node lost them."""

from typing import TYPE_CHECKING, Any, NamedTuple

from jilnode.simulation.clients import Errand
from jilnode.simulation.exchange.stops import Stops
from services.dex.intents import CreateMarket, SetGroup
from services.dex.pools.intents import CreatePool
from services.wallet.intents import CreateAccount, CreateAsset, Issue, SetRoaming, SetStatus

if TYPE_CHECKING:
    from jilnode.simulation.world import World

__all__ = ("NEVER", "OPERATOR", "Market", "Pool", "Setting")

OPERATOR = frozenset({"wallet:operate", "wallet:issue", "wallet:transfer", "dex:operate", "dex:trade"})
TRADER = frozenset({"dex:trade"})
NEVER = 1 << 62
SCALE = 4
ISSUERS_MAX = 3
ACCOUNTS = 12
SUBJECTS = 10
"""Fewer than accounts: some have one owner."""
ROAMING = "1000000000"
CALM = (1 << 40, 1 << 41, 1 << 42)
NERVOUS = (30, 60, 5000)
"""Basis points at which a market becomes elevated, restricted, halted."""
POOL_FEES_BPS = (30, 0, 100)
PROVIDERS = 4
"""Accounts that may take shares of pools to other nodes."""


class Market(NamedTuple):
    node: int
    name: str
    base: str
    quote: str
    states_bps: tuple[int, int, int]


class Pool(NamedTuple):
    node: int
    name: str
    base: str
    quote: str


class _Piece(NamedTuple):
    errand: Errand
    needs: tuple[str, ...] = ()


class _Made(NamedTuple):
    node: int
    sequence: int
    id: str


class Setting:
    """The first nodes issue two assets each and have the market of both; the second has one with an asset of the first
    too. Each has one pool: the second's is of that other market's pair. Accounts have their homes at these nodes, and
    at one without a market."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._made: dict[str, _Made] = {}
        self._waiting: dict[str, _Piece] | None = None
        """What is not made yet; None when that has to be found anew."""
        self.stops = Stops(OPERATOR)
        self._sources = [node.source for node in world.nodes[: ISSUERS_MAX + 1]]
        issuers = self._sources[:ISSUERS_MAX]
        self.assets = {
            f"{code}{number}@{source}": number for number, source in enumerate(issuers) for code in ("GOLD", "USDX")
        }
        """asset -> the node that issues it."""
        self.markets = [
            self._market(number, number, number, CALM if number else NERVOUS) for number in range(len(issuers))
        ]
        if len(issuers) > 1:
            self.markets.append(self._market(1, 0, 1, CALM))
        # A node's first pool has this name, whoever was told that it is made.
        pairs = {market.node: market for market in self.markets}
        self.pools = [
            Pool(node, f"dex.LP1@{issuers[node]}", market.base, market.quote) for node, market in pairs.items()
        ]

    def _market(self, node: int, base: int, quote: int, states_bps: tuple[int, int, int]) -> Market:
        name = f"GOLD{base}-USDX{quote}@{self._sources[node]}"
        base_asset, quote_asset = f"GOLD{base}@{self._sources[base]}", f"USDX{quote}@{self._sources[quote]}"
        return Market(node, name, base_asset, quote_asset, states_bps)

    def home(self, account: int) -> int:
        return account % len(self._sources)

    def subject(self, account: int) -> str:
        return f"trader-{account % SUBJECTS}"

    def account(self, number: int) -> str:
        """The account's id; empty until it is open."""
        made = self._made.get(f"account {number}")
        return "" if made is None else made.id

    def number(self, account: str) -> int:
        """The first one's, where its home has lost the account."""
        return next((number for number in self.accounts() if self.account(number) == account), 0)

    def accounts(self) -> list[int]:
        return [number for number in range(ACCOUNTS) if f"account {number}" in self._made]

    def trader(self, node: int, *assets: str) -> int:
        """An account, mostly one that was given money of the assets, and more often one that is at home at ``node``."""
        randomness, accounts = self._world.random, self.accounts()
        rich = [
            account
            for account in accounts
            if all(f"money {account} {asset}" in self._made for asset in assets if asset in self.assets)
        ]
        near = [account for account in rich if self.home(account) == node]
        if near and randomness.random() < 0.6:
            return randomness.choice(near)
        return randomness.choice(rich if rich and randomness.random() < 0.9 else accounts)

    def open_markets(self) -> list[Market]:
        return [market for market in self.markets if market.name in self._made]

    def open_pools(self) -> list[Pool]:
        return [pool for pool in self.pools if pool.name in self._made]

    def now_us(self, node: int) -> int:
        """As a client of that node reads it off its answers."""
        found = self._world.nodes[node]
        return found.engine.now_us() if found.writable else found.clock.wall_us()

    def deadline_us(self, node: int) -> int:
        """Some are over before the command is decided, or before it is tried again."""
        return self.now_us(node) + self._world.random.choice((200, 20_000, 3_600_000_000, 3_600_000_000))

    def trade(self, node: int, account: int, command: Any) -> Errand:
        """By the account's owner, at ``node``; now and then somebody asks the wrong one."""
        if self._world.random.random() < 0.03:
            node = self._world.random.randrange(len(self._world.nodes))
        return Errand(node, command, self.subject(account), TRADER)

    def operate(self, node: int, command: Any) -> Errand:
        return Errand(node, command, "operator", OPERATOR)

    def freeze(self, account: int) -> Errand:
        name = self.account(account)
        return self.stops.stop(self.home(account), SetStatus(name, "frozen"), SetStatus(name, "active"))

    def missing(self) -> Errand | None:
        """One of the pieces that can be made now, first of those that no other node must be heard for."""
        if self._waiting is None:
            self._waiting = {name: piece for name, piece in self._pieces().items() if name not in self._made}
        here: list[Errand] = []
        elsewhere: list[Errand] = []
        for piece in self._waiting.values():
            needs = [self._made.get(need) for need in piece.needs]
            if None not in needs:
                near = all(need is not None and need.node == piece.errand.node for need in needs)
                (here if near else elsewhere).append(piece.errand)
        return self._world.random.choice(here or elsewhere) if here or elsewhere else None

    def built(self, errand: Errand, sequence: int, reply: Any) -> None:
        if errand.name:
            self._made[errand.name] = _Made(errand.node, sequence, getattr(reply, "id", ""))
            self._waiting = None

    def restored(self, node: int, first_lost: int) -> None:
        self._made = {
            name: made for name, made in self._made.items() if made.node != node or made.sequence < first_lost
        }
        self._waiting = None

    def money(self, account: int, asset: str) -> Errand:
        return self.operate(self.assets[asset], Issue(asset, self.account(account), "5000"))

    def _pieces(self) -> dict[str, _Piece]:
        pieces: dict[str, _Piece] = {}

        def add(name: str, node: int, command: Any, *needs: str) -> None:
            pieces[name] = _Piece(Errand(node, command, "operator", OPERATOR, name), needs)

        for asset, node in self.assets.items():
            add(asset, node, CreateAsset(asset.partition("@")[0], SCALE))
        for market in self.markets:
            command = CreateMarket(market.base, market.quote, "0.01", "0.01", "0", 10_000, 5, 10, market.states_bps)
            add(market.name, market.node, command, market.base, market.quote)
        for pool in self.pools:
            fee_bps = POOL_FEES_BPS[pool.node]
            add(pool.name, pool.node, CreatePool(pool.base, pool.quote, fee_bps), pool.base, pool.quote)
        for number in range(ACCOUNTS):
            account, home, opened = self.account(number), self.home(number), f"account {number}"
            add(opened, home, CreateAccount(self.subject(number)))
            for asset, issuer in self.assets.items():
                add(f"money {number} {asset}", issuer, self.money(number, asset).command, opened, asset)
                roaming = SetRoaming(account, asset, ROAMING, tuple(self._sources))
                add(f"roaming {number} {asset}", home, roaming, opened, asset)
            for pool in self.pools if number < PROVIDERS else ():
                if pool.node != home:
                    roaming = SetRoaming(account, pool.name, ROAMING, tuple(self._sources))
                    add(f"roaming {number} {pool.name}", home, roaming, opened, pool.name)
        for number in (0, len(self._sources)):
            # Two owners who are one.
            add(f"group {number}", 0, SetGroup(self.account(number), "house"), f"account {number}")
        return pieces
