"""Supplies: what was issued of an asset and burned, at its issuer's node only."""

from jilnode.kernel.names import PART_CHARS_MAX
from jilnode.kernel.state import Context, State
from jilnode.limits import INT64_MAX
from jilnode.module import Rejected
from services.wallet.rows import ASSETS, SUPPLY, Asset, Supply

__all__ = ("add_asset", "change_supply", "check_issuer")


def add_asset(state: State, context: Context, code: str, scale: int, kind: str) -> str:
    """A new asset of this node; its name ``CODE@issuer``."""
    if len(code) + 1 + len(context.source) > PART_CHARS_MAX:
        raise Rejected("bad_asset_code", "the code and this node's id are too long together", field="/code", status=400)
    key = f"{context.source}/{code}"
    if state[ASSETS].get(key) is not None:
        raise Rejected("asset_exists", f"{code}@{context.source} is there already", status=409, field="/code")
    state[ASSETS].put(key, Asset(scale, kind))
    state[SUPPLY].put(key, Supply())
    return f"{code}@{context.source}"


def check_issuer(context: Context, asset: str) -> None:
    """For whoever asks to issue or burn. What is named ``<module>.<name>`` the module issues and burns itself."""
    code, _, issuer = asset.partition("@")
    if "." in code:
        raise Rejected("module_asset", "only its module issues and burns this asset", status=403, field="/asset")
    if issuer != context.source:
        raise Rejected("misdirected", f"node {issuer} issues {asset}", status=421, extra={"owner": issuer})


def change_supply(state: State, asset: str, issued: int = 0, burned: int = 0) -> None:
    """Of an asset of this node. Raises ``Rejected`` when what is there of it would pass 64 bits. What was ever issued
    would some day: then what was burned is taken off both, so that nobody uses an asset up by making and burning it."""
    code, _, issuer = asset.partition("@")
    key = f"{issuer}/{code}"
    supply = state[SUPPLY].get(key)
    assert supply is not None
    before = supply
    if supply.issued + issued > INT64_MAX:
        before = Supply(supply.issued - supply.burned)
    if before.issued + issued > INT64_MAX:
        raise Rejected("issue_too_large", "the total issued would pass 64 bits", field="/amount")
    state[SUPPLY].put(key, Supply(before.issued + issued, before.burned + burned))
