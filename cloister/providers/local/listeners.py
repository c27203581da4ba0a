"""Who listens on which TCP port of this machine, as /proc/net tells."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

_LISTEN = "0A"
_ANY = "0.0.0.0"  # noqa: S104 - compared with, never bound


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listener:
    """`address` is a dotted IPv4 address; that of a wildcard socket, IPv6 or not, is 0.0.0.0."""

    address: str
    port: int
    inode: str

    @property
    def everywhere(self) -> bool:
        return self.address == _ANY


def listeners() -> list[Listener]:
    found = []
    for table in ("tcp", "tcp6"):
        try:
            rows = Path("/proc/net", table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        found += [listener for row in rows if (listener := _listener(row.split()))]
    return found


def who_listens(listener: Listener) -> str:
    """`python3 (process 4242)`, or a vaguer answer when the process is another user's."""
    wanted = f"socket:[{listener.inode}]"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) == wanted for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name} (process {process.name})"
        except OSError:
            continue
    return "a process of another user"


def _listener(fields: list[str]) -> Listener | None:
    if fields[3] != _LISTEN:
        return None
    address, port = fields[1].split(":")
    dotted = _dotted(address)
    if dotted is None:
        return None
    return Listener(address=dotted, port=int(port, 16), inode=fields[9])


def _dotted(address: str) -> str | None:
    """IPv4 addresses are one little-endian word, IPv6 ones four; None for a true IPv6 address."""
    words = [address[start : start + 8] for start in range(0, len(address), 8)]
    packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
    if len(packed) == 4:
        return str(ipaddress.IPv4Address(packed))
    v6 = ipaddress.IPv6Address(packed)
    if v6 == ipaddress.IPv6Address("::"):
        return _ANY
    return str(v6.ipv4_mapped) if v6.ipv4_mapped else None
