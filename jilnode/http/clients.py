"""Whose address a request counts against: the peer's, or what a trusted proxy says."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ("ClientAddresses",)

_REMEMBERED_MAX = 10_000
_HOPS_MAX = 20

Network = IPv4Network | IPv6Network


class ClientAddresses:
    """``X-Forwarded-For`` is believed only as far as trusted proxies wrote it: the right-most address that is not
    one of theirs.
    """

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        self._trusted: list[Network] = [ip_network(text, strict=False) for text in trusted_proxies]
        self._groups: dict[str, str] = {}

    def client(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The client's group: an IPv4 address, or the /64 of an IPv6 address, for that is what one customer is
        given.
        """
        if self._trusted and self._is_trusted(peer):
            peer = self._forwarded(peer, headers)
        if ":" not in peer:
            return peer
        group = self._groups.get(peer)
        if group is None:
            if len(self._groups) >= _REMEMBERED_MAX:
                self._groups.clear()
            group = self._groups[peer] = _group(peer)
        return group

    def _forwarded(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        lines = [value for name, value in headers if name == b"x-forwarded-for"]
        hops = b",".join(lines).decode("latin-1").split(",")
        for hop in reversed(hops[-_HOPS_MAX:]):
            candidate = hop.strip()
            try:
                ip_address(candidate)
            except ValueError:
                return peer
            peer = candidate
            if not self._is_trusted(candidate):
                return candidate
        return peer

    def _is_trusted(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _group(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if not isinstance(address, IPv6Address):
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, 64), strict=False).network_address)
