"""What guests say about their own end: `shutdown` in a node, heard by the simulation through a FIFO."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from pathlib import Path

READ_BYTES = 65536

# Instance, verb ("off", "reboot", "cancel"), minutes from now.
Heard = Callable[[str, str, int], None]


class Power:
    def __init__(self, fifo: Path, heard: Heard) -> None:
        # Open for writing too, so that it never ends when the last guest has written.
        self._fifo = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self._heard = heard
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._listen, name="power", daemon=True).start()

    def drain(self) -> None:
        """Hear all that was said until now."""
        with self._lock:
            try:
                text = os.read(self._fifo, READ_BYTES).decode()
            except BlockingIOError:
                return
            for line in text.splitlines():
                instance, verb, minutes = line.split()
                self._heard(instance, verb, int(minutes))

    def _listen(self) -> None:
        while True:
            select.select([self._fifo], [], [])
            self.drain()
