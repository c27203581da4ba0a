"""In place of sshds, where there are none: ports that greet as an SSH server does, one thread for all of them."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterable

GREETING = b"SSH-2.0-simulated\r\n"


class Doors:
    """Before one is opened, and after it was closed, the kernel refuses connections to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._open: dict[str, socket.socket] = {}
        self._greeter: threading.Thread | None = None

    def open(self, name: str, address: str, port: int) -> None:
        with self._lock:
            if name in self._open:
                return
            door = socket.socket()
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind((address, port))
            door.setblocking(False)
            if self._greeter is None:
                self._greeter = threading.Thread(target=self._greet, name="doors", daemon=True)
                self._greeter.start()
            self._open[name] = door
            self._selector.register(door, selectors.EVENT_READ)
            # Last, so that whoever gets in is greeted.
            door.listen()

    def close(self, names: Iterable[str]) -> None:
        with self._lock:
            for door in [self._open.pop(name) for name in names if name in self._open]:
                self._selector.unregister(door)
                door.close()

    def _greet(self) -> None:
        while True:
            for key, _ in self._selector.select():
                with contextlib.suppress(OSError):
                    visitor, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    with visitor:
                        visitor.send(GREETING)
