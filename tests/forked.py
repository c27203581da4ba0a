"""The `cloister` command as a fork of a process that has imported all of it: importing takes most commands
longer than what they do. tests/cli/test_invocations.py calls the installed program itself.

As a program: listens at the socket with the number of its argument. Each connection brings an order, with
the files for the command's output; that it has started goes back, and its exit status. Whatever is sent in
between kills it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

_ORDER_MAX = 1 << 20
_STARTED = b"started"
# Importing everything, the first time.
_STARTS_WITHIN_S = 60.0


class Running:
    """A command that was started; it goes on when nobody waits for it."""

    def __init__(self, connection: socket.socket, output: IO[bytes], errors: IO[bytes]) -> None:
        self._connection, self._output, self._errors = connection, output, errors
        assert self._answer() == _STARTED

    def wait(self, timeout_s: float) -> int:
        """Exit status, negative for a signal; TimeoutError when it has not ended by then."""
        self._connection.settimeout(timeout_s)
        return os.waitstatus_to_exitcode(int(self._answer()))

    def kill(self) -> None:
        """By the process that waits for it: its number cannot be another one's by then."""
        with contextlib.suppress(BrokenPipeError):
            self._connection.send(b"kill")

    def said(self) -> tuple[str, str]:
        """Standard output and standard error until now."""
        return _text(self._output), _text(self._errors)

    def _answer(self) -> bytes:
        answer = self._connection.recv(64)
        if not answer:
            raise OSError("the process that runs cloister's commands has ended")
        return answer


class Program:
    """It may be used by several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._address = ""

    def run(
        self, arguments: list[str], cwd: Path, env: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        """Exit status, negative for a signal, standard output, standard error.

        TimeoutError when it has not ended by then; it goes on.
        """
        with self.started(arguments, cwd, env) as running:
            return running.wait(timeout_s), *running.said()

    @contextlib.contextmanager
    def started(self, arguments: list[str], cwd: Path, env: Mapping[str, str]) -> Iterator[Running]:
        order = {"arguments": arguments, "cwd": str(cwd), "env": dict(env)}
        with (
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        ):
            connection.settimeout(_STARTS_WITHIN_S)
            connection.connect(self._listening())
            files = [output.fileno(), errors.fileno()]
            socket.send_fds(connection, [json.dumps(order).encode()], files)
            yield Running(connection, output, errors)

    def _listening(self) -> str:
        with self._lock:
            if not self._address:
                self._address = f"\0cloister-commands-{os.getpid()}"
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with listener:
                    listener.bind(self._address)
                    listener.listen(64)
                    # Its input is held open by this process: it ends with it, however this one ends.
                    process = subprocess.Popen(
                        [sys.executable, __file__, str(listener.fileno())],
                        stdin=subprocess.PIPE,
                        pass_fds=[listener.fileno()],
                    )
                assert process.stdin
                atexit.register(process.stdin.close)
            return self._address


# One for all tests of a worker.
PROGRAM = Program()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def main() -> None:
    _import_everything()
    listener = socket.socket(fileno=int(sys.argv[1]))
    while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
        connection, _ = listener.accept()
        # Twice, so that somebody waits for the command who has nothing else to do.
        if os.fork() == 0:
            listener.close()
            _supervise(connection)
        connection.close()
        _reap()


def _reap() -> None:
    """Those that have told the status of their command."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _supervise(connection: socket.socket) -> None:
    text, files, *_ = socket.recv_fds(connection, _ORDER_MAX, 2)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _command(json.loads(text), files)
    connection.send(_STARTED)
    ended = os.pidfd_open(pid)
    # Nothing is said by somebody who is gone: then the command goes on.
    while ended not in select.select([ended, connection], [], [])[0] and connection.recv(64):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        connection.send(str(status).encode())
    os._exit(0)


def _command(order: dict[str, object], files: list[int]) -> None:
    from cloister.cli import main as cloister

    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, replacement in ((0, nothing), (1, files[0]), (2, files[1])):
        os.dup2(replacement, number)
    os.closerange(3, max(nothing, *files) + 1)
    os.environ.clear()
    os.environ.update(order["env"])  # type: ignore[call-overload]
    os.chdir(str(order["cwd"]))
    sys.argv = ["cloister", *order["arguments"]]  # type: ignore[misc]
    status = 1
    try:
        status = cloister()
        sys.stdout.flush()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - as Python itself would
        traceback.print_exc()
    finally:
        os._exit(status)


def _import_everything() -> None:
    import importlib

    import cloister

    for module in pkgutil.walk_packages(cloister.__path__, "cloister."):
        # The agent's parts are put together on the nodes, and are no modules here.
        if not module.name.startswith("cloister.agent."):
            importlib.import_module(module.name)
    for name in ("boto3", "fabric", "jinja2", "paramiko"):
        importlib.import_module(name)
    _read_models()


def _read_models() -> None:
    """botocore's, which a command on EC2 would take half a second for."""
    from cloister.providers.ec2.api import _loader

    for service in ("ec2", "pricing", "scheduler", "ssm", "sts"):
        for kind in ("service-2", "endpoint-rule-set-1"):
            _loader().load_service_model(service, kind)
    for name in ("endpoints", "partitions", "sdk-default-configuration"):
        _loader().load_data(name)


if __name__ == "__main__":
    main()
