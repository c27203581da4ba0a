"""Addresses and ports for new local nodes: the same ones again if possible, free ones in any case."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import socket
from collections.abc import Collection, Iterator

from cloister.errors import ProviderError
from cloister.providers.local.listeners import Listener, listeners, who_listens

# Not 22, which needs root, and on which this machine's own sshd listens at all addresses.
_FIRST_PORT = 2222
_PORTS_TRIED_MAX = 1000
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


def free_port(port: int | None) -> int:
    """The configured port, or else the first that nobody listens on at all addresses."""
    everywhere = {entry.port: entry for entry in listeners() if entry.everywhere}
    if port is None:
        return next(
            number
            for number in range(_FIRST_PORT, _FIRST_PORT + _PORTS_TRIED_MAX)
            if number not in everywhere
        )
    if port in everywhere:
        raise ProviderError(
            f"launching local nodes on port {port}: "
            f"{who_listens(everywhere[port])} listens on it at all addresses",
            hint="give cluster.local.port another number, or none",
        )
    return port


def free_addresses(
    network: str, seed: str, count: int, port: int, taken: Collection[str]
) -> list[str]:
    """`count` addresses of the network on which nobody listens; where to begin follows from `seed`."""
    busy = {entry.address: entry for entry in listeners() if not entry.everywhere}
    chosen: list[str] = []
    for address in _candidates(_network(network), seed):
        if len(chosen) == count:
            break
        if address not in busy and address not in taken and _can_bind(address, port):
            chosen.append(address)
    if len(chosen) < count:
        raise ProviderError(
            f"launching {count} local nodes in {network}: only {len(chosen)} of its addresses are free"
            + _example(busy, network),
            hint="give cluster.local.network a larger part of 127.0.0.0/8",
        )
    return chosen


def _network(text: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ProviderError(f"cluster.local.network {text!r}: {error}") from None
    if not network.subnet_of(_LOOPBACK):
        raise ProviderError(
            f"cluster.local.network {text!r} is not a part of 127.0.0.0/8",
            hint="only addresses of this machine itself can be local nodes'; 127.64.0.0/10 is the default",
        )
    return network


def _candidates(network: ipaddress.IPv4Network, seed: str) -> Iterator[str]:
    """Every address once, but for those that look like a network's or a broadcast address."""
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    size = network.num_addresses
    for step in range(size):
        address = network[(start + step) % size]
        if address.packed[3] not in (0, 255):
            yield str(address)


def _can_bind(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As sshd does; otherwise connections of a node that has just gone would keep its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ProviderError(
                f"launching local nodes: listening on {address}:{port}: {error.strerror}",
                hint="ports below 1024 need root; cluster.local.port names another",
            ) from error
    return True


def _example(busy: dict[str, Listener], network: str) -> str:
    inside = [entry for address, entry in busy.items() if _is_inside(address, network)]
    if not inside:
        return ""
    entry = inside[0]
    return f"; on {entry.address}, for example, {who_listens(entry)} listens"


def _is_inside(address: str, network: str) -> bool:
    return ipaddress.IPv4Address(address) in ipaddress.IPv4Network(network)
