"""One role of a benchmark in the foreground: on its nodes, or as a plain process of this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from cloister.errors import CloisterError
from cloister.experiment.benchmark import run_identity
from cloister.experiment.placement import Instance
from cloister.experiment.starting import command_of
from cloister.transport.links import Links

_READ_BYTES = 1 << 16
# For a program on this machine to end after a signal, before it is killed.
_GRACE_S = 5.0
_LOOK_EVERY_S = 0.2

Show = Callable[[bytes], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """`how` is for a person: an exit status or a signal."""

    instance: Instance
    log: Path
    ok: bool
    how: str


class Output:
    """What one process says: whole into its log, and shown, line by line if there are several processes."""

    def __init__(self, log: Path, show: Show, label: str) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        # Fails rather than write over another run's log.
        self._file = log.open("xb", buffering=0)
        self._show = show
        self._label = label.encode()
        self._part = b""

    def take(self, data: bytes) -> None:
        self._file.write(data)
        if not self._label:
            self._show(data)
            return
        *lines, self._part = (self._part + data).split(b"\n")
        self._show(b"".join(b"%s: %s\n" % (self._label, line) for line in lines))

    def close(self) -> None:
        if self._part:
            self._show(b"%s: %s\n" % (self._label, self._part))
        self._file.close()


@contextlib.contextmanager
def outputs(
    instances: Sequence[Instance], role: str, folder: Path, show: Show
) -> Iterator[list[Output]]:
    """ROLE_<time>.log, or ROLE<i>_<time>.log if there are several, in `folder`."""
    stamp = run_identity().replace("-", "_")
    several = len(instances) > 1
    made: list[Output] = []
    try:
        for index in range(len(instances)):
            name = f"{role}{index}" if several else role
            made.append(Output(folder / f"{name}_{stamp}.log", show, name if several else ""))
        yield made
    finally:
        for output in made:
            output.close()


# --- on the nodes --------------------------------------------------------------------------------


def run_on_nodes(
    links: Links, instances: Sequence[Instance], made: Sequence[Output]
) -> list[Ended]:
    """Until all have ended. Interrupted, it ends them; killed, the closed channels do."""
    links.open_all({i.node.name: i.node for i in instances}.values()).raise_first()
    processes = [
        links.channel(instance.node).start(
            command_of(instance),
            folder=instance.folder,
            env={**instance.env, "CLOISTER_NAME": instance.process},
            stdin=instance.stdin.encode() if instance.stdin is not None else None,
            stderr="stdout",
            on_stdout=output.take,
        )
        for instance, output in zip(instances, made, strict=True)
    ]
    ended: list[Ended] = []
    try:
        for instance, output, process in zip(instances, made, processes, strict=True):
            outcome = process.wait()
            ok = outcome.status in instance.expect
            ended.append(Ended(instance=instance, log=output.log, ok=ok, how=str(outcome)))
    finally:
        for instance, process in zip(instances, processes, strict=True):
            if not process.is_over:
                with contextlib.suppress(CloisterError):
                    number = signal.Signals[f"SIG{instance.stop_signal}"]
                    process.stop(number, grace_s=instance.stop_grace_s)
    return ended


# --- on this machine -----------------------------------------------------------------------------


def run_here(instances: Sequence[Instance], work: Path, made: Sequence[Output]) -> list[Ended]:
    """As on a node with this work folder. Interrupted or terminated, it ends them; SIGKILL leaves them."""
    with _terminable(), selectors.DefaultSelector() as selector:
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for instance, output in zip(instances, made, strict=True):
                processes.append(_started(instance, work))
                pipe = processes[-1].stdout
                assert pipe is not None
                selector.register(pipe, selectors.EVENT_READ, output)
            _pump(selector, processes)
            return [
                _ended(instance, output, process.wait())
                for instance, output, process in zip(instances, made, processes, strict=True)
            ]
        finally:
            _end(processes)


def _started(instance: Instance, work: Path) -> subprocess.Popen[bytes]:
    command = command_of(instance)
    argv = ["/bin/bash", "-c", command] if isinstance(command, str) else list(command)
    folder = work / instance.folder
    try:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, **instance.env, "CLOISTER_NAME": instance.process},
            stdin=subprocess.DEVNULL if instance.stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # So that all of it can be signalled, and a Ctrl-C is ours to pass on.
            start_new_session=True,
        )
    except OSError as error:
        raise CloisterError(f"starting {argv[0]} in {folder}: {error.strerror}") from None
    if process.stdin is not None:
        _feed(process.stdin, (instance.stdin or "").encode())
    return process


def _feed(pipe: IO[bytes], text: bytes) -> None:
    """Aside, because a program may talk before it has read all of its input."""

    def write() -> None:
        with contextlib.suppress(OSError), pipe:
            pipe.write(text)

    threading.Thread(target=write, daemon=True).start()


def _pump(selector: selectors.BaseSelector, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until every program has ended; a descendant that still holds its output is not waited for."""
    while selector.get_map():
        ready = selector.select(_LOOK_EVERY_S)
        for key, _ in ready:
            data = os.read(key.fd, _READ_BYTES)
            if data:
                key.data.take(data)
            else:
                selector.unregister(key.fileobj)
        if not ready and all(process.poll() is not None for process in processes):
            return


def _ended(instance: Instance, output: Output, status: int) -> Ended:
    how = f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
    return Ended(instance=instance, log=output.log, ok=status in instance.expect, how=how)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """The whole sessions, gently first."""
    running = [process for process in processes if process.poll() is None]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in running:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, number)
        ends_at = time.monotonic() + _GRACE_S
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, ends_at - time.monotonic()))
        running = [process for process in running if process.poll() is None]


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP as Ctrl-C, because the programs here would otherwise outlive this one."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def own_address(addresses: Sequence[str]) -> str | None:
    """Which of these is this machine's; where several are, the one by which this session was reached."""
    reached = os.environ.get("SSH_CONNECTION", "").split()[2:3]
    if reached and reached[0] in addresses:
        return reached[0]
    return next((address for address in addresses if _is_here(address)), None)


def _is_here(address: str) -> bool:
    try:
        answers = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, _, _, place in answers:
        with socket.socket(family, kind) as probe, contextlib.suppress(OSError):
            probe.bind((place[0], 0))
            return True
    return False
