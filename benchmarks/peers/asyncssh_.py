"""asyncssh, all nodes as tasks of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import asyncssh

from peers.protocol import Bed, Node, Peer, TakeLines

T = TypeVar("T")


class AsyncSsh:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: dict[str, asyncssh.SSHClientConnection] = {}
        self._loop.run_until_complete(self._connect(bed))

    async def _connect(self, bed: Bed) -> None:
        key = asyncssh.read_private_key(bed.nodes[0].key_file)
        known_hosts = asyncssh.read_known_hosts(str(bed.known_hosts))

        async def one(node: Node) -> asyncssh.SSHClientConnection:
            return await asyncssh.connect(
                node.address,
                port=node.port,
                username=node.user,
                client_keys=[key],
                known_hosts=known_hosts,
                agent_path=None,
                config=None,
            )

        opened = await asyncio.gather(*(one(node) for node in bed.nodes))
        self._connections = dict(zip(bed.addresses, opened, strict=True))

    def _each(
        self, work: Callable[[str, asyncssh.SSHClientConnection], Awaitable[T]]
    ) -> dict[str, T]:
        async def everything() -> list[T]:
            return await asyncio.gather(*(work(*pair) for pair in self._connections.items()))

        values = self._loop.run_until_complete(everything())
        return dict(zip(self._connections, values, strict=True))

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [self._run(command) for command in commands]

    def _run(self, command: str) -> dict[str, str]:
        async def one(address: str, connection: asyncssh.SSHClientConnection) -> str:
            return str((await connection.run(command, check=True)).stdout)

        return self._each(one)

    def copy(self, source: Path) -> None:
        async def one(address: str, connection: asyncssh.SSHClientConnection) -> None:
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(source), ".", recurse=True)

        self._each(one)

    def collect(self, path: str, folder: Path) -> None:
        async def one(address: str, connection: asyncssh.SSHClientConnection) -> None:
            async with connection.start_sftp_client() as sftp:
                await sftp.get(path, str(folder / address))

        self._each(one)

    def stream(self, command: str, take: TakeLines) -> None:
        async def one(address: str, connection: asyncssh.SSHClientConnection) -> None:
            process = await connection.create_process(command)
            async for line in process.stdout:
                take(address, [line.rstrip("\n")])

        self._each(one)

    def close(self) -> None:
        async def one(address: str, connection: asyncssh.SSHClientConnection) -> None:
            connection.close()
            await connection.wait_closed()

        self._each(one)
        self._loop.close()


def peer() -> Peer:
    return AsyncSsh()
