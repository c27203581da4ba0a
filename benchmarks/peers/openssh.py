"""`ssh` under `xargs -P`; connections that are used again are multiplexed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peers.multiplexed import close_masters, ssh_options
from peers.protocol import Bed, Peer, TakeLines
from peers.xargs import ADDRESS, xargs

_TO_FILE = 'file=$1; shift; exec ssh "$@" > "$file"'


class OpenSsh:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        self._bed = bed
        self._options = ssh_options(bed, keep=keep)
        self._outputs = bed.scratch / "outputs"
        self._outputs.mkdir()
        if keep:
            self._run("true")

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [self._run(command) for command in commands]

    def _run(self, command: str) -> dict[str, str]:
        file = f"{self._outputs}/{ADDRESS}"
        xargs(
            self._bed,
            ["sh", "-c", _TO_FILE, "sh", file, *self._options, ADDRESS, command],
        )
        return {address: (self._outputs / address).read_text() for address in self._bed.addresses}

    def copy(self, source: Path) -> None:
        raise NotImplementedError

    def collect(self, path: str, folder: Path) -> None:
        xargs(
            self._bed,
            ["scp", "-q", *self._options, f"{ADDRESS}:{path}", f"{folder}/{ADDRESS}"],
        )

    def stream(self, command: str, take: TakeLines) -> None:
        for address, output in self._run(command).items():
            take(address, output.splitlines())

    def close(self) -> None:
        close_masters(self._bed)


def peer() -> Peer:
    return OpenSsh()
