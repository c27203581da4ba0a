"""Parallel `rsync` by hand, each with a connection of its own."""

from __future__ import annotations

from peers.protocol import Peer
from peers.rsync_ import Rsync


def peer() -> Peer:
    return Rsync(multiplexed=False)
