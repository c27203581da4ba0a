"""Servers as forks of one process that has imported and read what all of them need, which takes seconds.

As a program: reads folders as lines on standard input, answers each with the process id of the server for
it. It ends with its standard input, and its servers end with it.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

if __name__ == "__main__":
    # As a script its folder would be first, with names in it that the standard library has too.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from moto.ec2.models import ec2_backends

    from cloud import pricing, server, wire
    from cloud.images import OWN

# Of the calls that cloister makes.
SERVICES = ("ec2", "pricing", "scheduler", "ssm", "sts")


class Server:
    """A process that is not a child of this one: it can be ended and waited for all the same."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended by then."""
        return bool(select.select([self._handle], [], [], timeout_s)[0])

    def send_signal(self, number: int) -> None:
        if not self.wait(0):
            signal.pidfd_send_signal(self._handle, number)

    def close(self) -> None:
        os.close(self._handle)


class Forker:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path) -> Server:
        """A server that writes its port to that folder; OSError if the process that forks has ended."""
        with self._lock:
            if self._process is None:
                # Its input is held open by this process: it ends with it, however this one ends.
                self._process = subprocess.Popen(
                    [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(f"{folder}\n".encode())
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise OSError("the process that starts simulated clouds has ended")
        return Server(int(answer))


def main() -> None:
    _read()
    # What has been imported is not looked through again and again, in each fork anew.
    gc.freeze()
    # Nobody waits for what has ended, so that its number is nobody else's as long as somebody may ask.
    # Ends for the servers when this process has ended.
    life, alive = os.pipe()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.close(alive)
            _serve(Path(line.rstrip("\n")), life)
        print(pid, flush=True)


def _read() -> None:
    """Tables and models, which each server would otherwise read for two seconds."""
    for service in SERVICES:
        wire.service_model(service)
    pricing.products()
    # Without its regions' contents.
    assert ec2_backends[OWN] is not None


def _serve(folder: Path, life: int) -> None:
    log = os.open(folder / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number, replacement in ((0, life), (1, log), (2, log)):
        os.dup2(replacement, number)
    try:
        server.serve(folder, settings=folder / "settings.json", while_stdin_open=True)
    except BaseException:  # noqa: BLE001 - written to the log
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
