"""What an order must be, as the rules are told: the naive book's part that says no."""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from services.dex.intents import PlaceOrder

PRICE, AMOUNT = 100, 10_000
INT64 = 2**63 - 1
WITH_TIMES = {
    "limit": ("gtc", "ioc", "fok", "gtd"),
    "market": ("ioc", "fok"),
    "stop": ("gtc", "gtd"),
    "stop_limit": ("gtc", "gtd"),
    "post_only": ("gtc", "gtd"),
}


class Refused(Exception):
    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = set(codes)


@dataclass
class Trader:
    subject: str
    gold: int
    usd: int
    frozen: bool = False
    group: str = ""
    held_gold: int = 0
    held_usd: int = 0


@dataclass
class Rest:
    """An order, open or ended."""

    id: str
    account: str
    owner: str
    side: str
    price: int
    quantity: int
    remaining: int
    came: tuple[int, int]
    kind: str
    prevention: str
    maker_bps: int
    taker_bps: int
    stop: int = 0
    expires: int = 0
    client_id: str = ""
    quote: bool = False
    rests: bool = True
    whole: bool = False
    filled: int = 0
    cancelled: int = 0
    prevented: int = 0
    gave: int = 0
    fees: int = 0
    held: int = 0
    reason: str = ""
    reached: bool = False
    """Whether a price has, since it came, while it waits for its stop."""


@dataclass
class Rules:
    """The market and who trades in it."""

    tick: int = 1
    lot: int = 100
    min_notional: int = 0
    band_bps: int = 10_000
    maker_bps: int = 0
    taker_bps: int = 0
    last: int = 0
    halted: bool = False
    now: int = 0
    traders: dict[str, Trader] = field(default_factory=dict)
    open: list[Rest] = field(default_factory=list)

    def _order(self, command: PlaceOrder, id: str, actor: str) -> Rest:
        trader = self._owner(command.account, actor)
        wrong: set[str] = set()
        if trader.frozen:
            wrong.add("account_frozen")
        if self.halted:
            wrong.add("market_halted")
        if command.side not in ("buy", "sell"):
            raise Refused("bad_side", *wrong)
        if command.kind not in WITH_TIMES:
            raise Refused("bad_kind", *wrong)
        if command.prevention not in ("none", "taker", "maker", "both", "decrement"):
            wrong.add("bad_prevention")
        time_in_force = command.time_in_force or ("ioc" if command.kind == "market" else "gtc")
        if time_in_force not in WITH_TIMES[command.kind]:
            wrong.add("bad_time_in_force")
        stops = command.kind in ("stop", "stop_limit")
        if stops != (command.stop != ""):
            raise Refused("bad_stop", *wrong)
        quantity = price = stop = 0
        for parse in (lambda: self._quantity(command.quantity), lambda: self._price(command.stop or "1")):
            try:
                parse()
            except Refused as refused:
                wrong |= refused.codes
        if not wrong:
            quantity = self._quantity(command.quantity)
            stop = self._price(command.stop) if stops else 0
            price = self._limit(command, stop, wrong)
        if (time_in_force == "gtd") != (command.expires_us > 0) or (
            time_in_force == "gtd" and not self.now < command.expires_us <= self.now + 90 * 86_400 * 10**6
        ):
            wrong.add("bad_expiry")
        if command.client_id and any(
            order.client_id == command.client_id and order.account == command.account for order in self.open
        ):
            wrong.add("client_id_taken")
        # What need not name a price is worth what it is expected to cost.
        worth = self._notional(price if command.price else stop or self.last, quantity) if price else 0
        if price and (worth < self.min_notional or max(worth, self._notional(price, quantity)) > INT64):
            wrong.add("bad_notional")
        if wrong:
            raise Refused(*wrong)
        return Rest(
            id,
            command.account,
            trader.group or trader.subject,
            command.side,
            price,
            quantity,
            quantity,
            (0, 0),
            command.kind,
            command.prevention,
            self.maker_bps,
            self.taker_bps,
            stop,
            command.expires_us,
            command.client_id,
            rests=time_in_force in ("gtc", "gtd"),
            whole=time_in_force == "fok",
        )

    def _limit(self, command: PlaceOrder, stop: int, wrong: set[str]) -> int:
        """The limit, or the end of the band where none need be named."""
        reference = stop or self.last
        if command.price == "" and command.kind in ("market", "stop"):
            if not reference:
                raise Refused("no_reference", *wrong)
            away = floor(Fraction(reference * self.band_bps, 10_000))
            if command.side == "buy":
                return floor(Fraction(reference + away, self.tick)) * self.tick
            return max(self.tick, ceil(Fraction(reference - away, self.tick)) * self.tick)
        price = self._price(command.price)
        if reference and abs(price - reference) > Fraction(reference * self.band_bps, 10_000):
            wrong.add("price_out_of_band")
        return price

    def _owner(self, account: str, actor: str) -> Trader:
        trader = self.traders.get(account)
        if trader is None:
            raise Refused("unknown_account")
        if trader.subject != actor:
            raise Refused("not_your_account")
        return trader

    def _quantity(self, text: str) -> int:
        return self._number(text, AMOUNT, self.lot, "off_lot")

    def _price(self, text: str) -> int:
        return self._number(text, PRICE, self.tick, "off_tick")

    @staticmethod
    def _number(text: str, scale: int, step: int, off: str) -> int:
        try:
            value = Fraction(text) * scale
        except ValueError:
            raise Refused("bad_amount") from None
        if value.denominator != 1:
            raise Refused("too_many_decimals", "off_tick", "off_lot")
        if not 0 < value <= INT64:
            raise Refused("bad_amount")
        if value % step:
            raise Refused(off)
        return int(value)

    @staticmethod
    def _notional(price: int, quantity: int) -> int:
        exact = Fraction(price, PRICE) * Fraction(quantity, AMOUNT) * AMOUNT
        assert exact.denominator == 1
        return int(exact)

    def _given(self, side: str, price: int, quantity: int) -> int:
        return self._notional(price, quantity) if side == "buy" else quantity

    @staticmethod
    def _fee(amount: int, bps: int) -> int:
        return ceil(Fraction(amount * bps, 10_000))
