"""ssh2-python, the leanest library, with a small driver of its own: threads over blocking sessions.

The library gives up the interpreter lock in every call, so threads serve it well.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ssh2.session import Session

from peers.protocol import Bed, Node, Peer, TakeLines

T = TypeVar("T")
THREADS_MAX = 32
_READ_BYTES = 128 * 1024


class Ssh2:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        self._threads = ThreadPoolExecutor(min(THREADS_MAX, len(bed.nodes)))
        self._sessions = dict(zip(bed.addresses, self._threads.map(_open, bed.nodes), strict=True))

    def _each(self, work: Callable[[str, Session], T]) -> dict[str, T]:
        values = self._threads.map(lambda pair: work(*pair), self._sessions.items())
        return dict(zip(self._sessions, values, strict=True))

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [
            self._each(lambda _, session, command=command: _output(session, command).decode())
            for command in commands
        ]

    def copy(self, source: Path) -> None:
        raise NotImplementedError

    def collect(self, path: str, folder: Path) -> None:
        def one(address: str, session: Session) -> None:
            channel, information = session.scp_recv2(path)
            with (folder / address).open("wb") as file:
                remaining = information.st_size
                while remaining > 0:
                    size, data = channel.read(min(_READ_BYTES, remaining))
                    if size <= 0:
                        raise RuntimeError(f"{path} of {address} ended early ({size})")
                    file.write(data)
                    remaining -= size
            channel.close()

        self._each(one)

    def stream(self, command: str, take: TakeLines) -> None:
        self._each(lambda address, session: take(address, _output(session, command).splitlines()))

    def close(self) -> None:
        self._each(lambda _, session: session.disconnect())
        self._threads.shutdown()


def _open(node: Node) -> Session:
    connection = socket.create_connection((node.address, node.port), timeout=30)
    connection.settimeout(None)
    # libssh2 writes small packets; Nagle's algorithm would hold each second one back for 40 ms.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    session = Session()
    session.handshake(connection)
    session.userauth_publickey_fromfile(node.user, node.key_file)
    return session


def _output(session: Session, command: str) -> bytes:
    channel = session.open_session()
    channel.execute(command)
    parts = []
    while True:
        size, data = channel.read(_READ_BYTES)
        if size <= 0:
            break
        parts.append(data)
    channel.wait_eof()
    channel.close()
    channel.wait_closed()
    if channel.get_exit_status() != 0:
        raise RuntimeError(f"{command}: exit status {channel.get_exit_status()}")
    return b"".join(parts)


def peer() -> Peer:
    return Ssh2()
