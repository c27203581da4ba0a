"""pdsh over ssh with a fan-out as large as the cluster."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from peers.multiplexed import close_masters, ssh_options
from peers.protocol import Bed, Peer, TakeLines


class Pdsh:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        self._bed = bed
        self._env = os.environ | {
            "PDSH_SSH_ARGS_APPEND": shlex.join(ssh_options(bed, keep=keep)),
        }
        if keep:
            self._run("true")

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [
            {address: "\n".join(lines) for address, lines in self._run(command).items()}
            for command in commands
        ]

    def _run(self, command: str) -> dict[str, list[str]]:
        addresses = ",".join(self._bed.addresses)
        fanout = str(len(self._bed.nodes))
        ended = subprocess.run(
            ["pdsh", "-S", "-R", "ssh", "-f", fanout, "-w", addresses, command],
            env=self._env,
            # ssh would read what is there, for nobody.
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        lines: dict[str, list[str]] = defaultdict(list)
        for line in ended.stdout.splitlines():
            address, _, text = line.partition(": ")
            lines[address].append(text)
        return lines

    def copy(self, source: Path) -> None:
        raise NotImplementedError

    def collect(self, path: str, folder: Path) -> None:
        raise NotImplementedError

    def stream(self, command: str, take: TakeLines) -> None:
        for address, lines in self._run(command).items():
            take(address, lines)

    def close(self) -> None:
        close_masters(self._bed)


def peer() -> Peer:
    return Pdsh()
