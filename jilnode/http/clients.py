"""Whose address a request counts against: the peer's, or what a trusted proxy says."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ("ClientAddresses", "OpenConnections")

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

    def connected(self, peer: str) -> str | None:
        """The group that a connection is of; None: a trusted proxy's, which is that of many clients."""
        return None if not peer or self._is_trusted(peer) else self.client(peer, ())

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
        # Of a socket that takes both, IPv4 peers have mapped addresses.
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self._trusted)


class OpenConnections:
    """How many connections each client has open; a trusted proxy's are counted for nobody."""

    def __init__(self, addresses: ClientAddresses) -> None:
        self._addresses = addresses
        self._counts: dict[str, int] = {}

    def add(self, peer: str) -> tuple[str | None, int]:
        """The client that it counts for, and how many that one has now."""
        client = self._addresses.connected(peer)
        if client is None:
            return None, 0
        count = self._counts[client] = self._counts.get(client, 0) + 1
        return client, count

    def remove(self, client: str | None) -> None:
        if client is None:
            return
        if self._counts[client] == 1:
            del self._counts[client]
        else:
            self._counts[client] -= 1


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
