"""parallel-ssh with its native client and a pool as large as the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gevent import joinall
from pssh.clients import ParallelSSHClient

from peers.protocol import Bed, Peer, TakeLines


class ParallelSsh:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        first = bed.nodes[0]
        self._addresses = bed.addresses
        self._client = ParallelSSHClient(
            self._addresses,
            user=first.user,
            port=first.port,
            pkey=first.key_file,
            pool_size=len(self._addresses),
            allow_agent=False,
            identity_auth=False,
        )

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [self._run(command) for command in commands]

    def _run(self, command: str) -> dict[str, str]:
        outputs = self._client.run_command(command)
        return {output.host: "\n".join(output.stdout) for output in outputs}

    def copy(self, source: Path) -> None:
        joinall(self._client.copy_file(str(source), source.name, recurse=True), raise_error=True)

    def collect(self, path: str, folder: Path) -> None:
        arguments = [
            {"remote_file": path, "local_file": str(folder / address)}
            for address in self._addresses
        ]
        joinall(
            self._client.copy_remote_file("%(remote_file)s", "%(local_file)s", copy_args=arguments),
            raise_error=True,
        )

    def stream(self, command: str, take: TakeLines) -> None:
        for output in self._client.run_command(command):
            take(output.host, list(output.stdout))

    def close(self) -> None:
        # The clients disconnect when they are collected.
        del self._client


def peer() -> Peer:
    return ParallelSsh()
