"""What every peer is asked to do; paths on nodes are relative to the home of the node's user."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

# Takes a node's address and some complete lines of its output, without their ends.
TakeLines = Callable[[str, Sequence[str | bytes]], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    name: str
    address: str
    port: int
    user: str
    key_file: str
    # As in a known_hosts file: "ssh-ed25519 AAAA…".
    host_key: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bed:
    """The nodes, and files in which OpenSSH's users would describe them."""

    nodes: tuple[Node, ...]
    ssh_config: Path
    known_hosts: Path
    # An empty folder of this measurement, for sockets and inventories.
    scratch: Path

    @property
    def addresses(self) -> list[str]:
        return [node.address for node in self.nodes]


class Peer(Protocol):
    def connect(self, bed: Bed, *, keep: bool) -> None:
        """Get ready; with `keep`, connections stay open for what follows, if the peer can do so."""

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        """Each command on all nodes before the next one; per command, standard output by address."""

    def copy(self, source: Path) -> None:
        """The folder to every node, where it keeps its name; what is there already may stay."""

    def collect(self, path: str, folder: Path) -> None:
        """The file of every node, as folder/ADDRESS."""

    def stream(self, command: str, take: TakeLines) -> None:
        """The lines of all nodes, as they come if the peer can do so."""

    def close(self) -> None: ...
