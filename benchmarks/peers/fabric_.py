"""Fabric's ThreadingGroup, its documented way to work on many hosts at once."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

from fabric import ThreadingGroup

from peers.protocol import Bed, Peer, TakeLines


class Fabric:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        first = bed.nodes[0]
        self._scratch = bed.scratch
        self._group = ThreadingGroup(
            *bed.addresses,
            user=first.user,
            port=first.port,
            connect_kwargs={
                "key_filename": first.key_file,
                "look_for_keys": False,
                "allow_agent": False,
            },
        )

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [self._run(command) for command in commands]

    def _run(self, command: str) -> dict[str, str]:
        # Without in_stream=False each connection gets a thread that polls standard input.
        results = self._group.run(command, hide=True, in_stream=False)
        return {connection.host: result.stdout for connection, result in results.items()}

    def copy(self, source: Path) -> None:
        archive = self._scratch / "archive.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(source, source.name)
        self._group.put(str(archive), remote="archive.tar")
        self._run("tar -xf archive.tar && rm archive.tar")

    def collect(self, path: str, folder: Path) -> None:
        self._group.get(path, local=f"{folder}/{{host}}")

    def stream(self, command: str, take: TakeLines) -> None:
        for address, output in self._run(command).items():
            take(address, output.splitlines())

    def close(self) -> None:
        self._group.close()


def peer() -> Peer:
    return Fabric()
