"""Loopback addresses for the nodes: blocks of 127.77.x.0/24, each of which one server has at a time."""

from __future__ import annotations

import socket

BLOCKS = 256
PER_BLOCK = 250


class Addresses:
    """Dealt out in order and never twice. Servers side by side take different blocks: a block is taken
    by a name among the abstract sockets, which ends with the last process that has it open. That is
    the watcher, which ends after the last node."""

    def __init__(self) -> None:
        self.claims: list[socket.socket] = []
        self._free: list[str] = []
        self._next_block = 0

    def claim(self) -> None:
        """OSError when all blocks are taken."""
        for block in range(self._next_block, BLOCKS):
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                claim.bind(f"\0simulated-ec2-127.77.{block}")
            except OSError:
                claim.close()
                continue
            self.claims.append(claim)
            self._next_block = block + 1
            self._free.extend(f"127.77.{block}.{host + 1}" for host in range(PER_BLOCK))
            return
        raise OSError("all blocks of 127.77.0.0/16 are taken by simulated clouds")

    def take(self) -> str:
        if not self._free:
            self.claim()
        return self._free.pop(0)
