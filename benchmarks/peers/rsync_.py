"""`rsync` under `xargs -P`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from peers.multiplexed import close_masters, ssh_options
from peers.protocol import Bed, TakeLines
from peers.xargs import ADDRESS, xargs


class Rsync:
    def __init__(self, *, multiplexed: bool) -> None:
        self._multiplexed = multiplexed

    def connect(self, bed: Bed, *, keep: bool) -> None:
        self._bed = bed
        options = ssh_options(bed, keep=keep and self._multiplexed)
        self._shell = shlex.join(["ssh", *options])
        if keep and self._multiplexed:
            xargs(bed, ["ssh", *options, ADDRESS, "true"])

    def copy(self, source: Path) -> None:
        xargs(self._bed, ["rsync", "-a", "--delete", "-e", self._shell, str(source), f"{ADDRESS}:"])

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        raise NotImplementedError

    def collect(self, path: str, folder: Path) -> None:
        raise NotImplementedError

    def stream(self, command: str, take: TakeLines) -> None:
        raise NotImplementedError

    def close(self) -> None:
        close_masters(self._bed)
