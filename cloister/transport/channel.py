"""The agent channel of one node: calls, processes and files as frames over one SSH session."""

from __future__ import annotations

import contextlib
import itertools
import json
import marshal
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloister.errors import (
    Busy,
    CloisterError,
    ConnectionLost,
    NodeError,
    NoPython,
    Refused,
)
from cloister.plan.observed import Node
from cloister.transport import backlog, bundle
from cloister.transport.process import Process, Sink

if TYPE_CHECKING:
    import fabric

    from cloister.transport.post import Post

_HEADER = struct.Struct(">IBI")
_READ_BYTES = 1 << 20
_FRAME_BYTES_MAX = 1 << 26
# Input of a process is sent in frames of this size, so that other calls get in between.
INPUT_BYTES_MAX = 1 << 20
# The agent ends its processes after this long without a word from us: we are gone or cut off.
SILENCE_S = 120.0
# A node that says nothing for so long, though it is asked every few seconds, is lost.
LOST_AFTER_S = 45.0
START_WITHIN_S = 30.0
CALL_WITHIN_S = 60.0
EXIT_STATUS_WITHIN_S = 1.0
# Enough to show what a login shell said in place of the agent.
_GREETING_BYTES_MAX = 1 << 16


class Pending:
    """The reply to one call."""

    def __init__(self, channel: Channel, on_data: Sink | None) -> None:
        self._channel = channel
        self._on_data = on_data
        self._over = threading.Event()
        self._watchers: list[Callable[[], None]] = []
        self._value: Any = None
        self._error: Exception | None = None

    def data(self, payload: bytes) -> None:
        if self._on_data is None or self._error is not None:
            return
        try:
            self._on_data(payload)
        except Exception as error:  # noqa: BLE001 - raised by `wait`, in the thread that it concerns
            self._error = error

    def replied(self, value: Any) -> None:
        self._value = value
        self._finish()

    def failed(self, error: CloisterError) -> None:
        self._error = self._error or error
        self._finish()

    def _finish(self) -> None:
        self._over.set()
        for watcher in self._watchers:
            watcher()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def when_over(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` in the post's thread when the reply is there; at once, too, if it already is."""
        self._watchers.append(watcher)
        if self._over.is_set():
            watcher()

    def wait(self, timeout_s: float | None = CALL_WITHIN_S) -> Any:
        if not self._over.wait(timeout_s):
            raise ConnectionLost(
                self._channel.node.name,
                f"the agent gave no answer within {timeout_s:g} s",
                hint="the node may be overloaded or cut off; `cloister ls` shows its state",
            )
        if self._error is not None:
            raise self._error
        return self._value


# What paramiko raises when the other side is gone: the second one when it writes at that very moment.
_ENDED = (OSError, EOFError)


def _not_sent(error: Exception) -> str:
    return f"sending failed: {str(error) or 'the connection ended'}"


class Channel:
    """An agent that runs on `node` as long as this channel is open."""

    def __init__(self, node: Node, connection: fabric.Connection, post: Post) -> None:
        self.node = node
        self._connection = connection
        self._post = post
        self._ssh: Any = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Pending | Process] = {}
        self._incoming = bytearray()
        self._send_lock = threading.Lock()
        self._sent_at = 0.0
        self._heard_at = time.monotonic()
        self._loaded: set[str] = set()
        self._same_python = True
        self._greeted = threading.Event()
        self._state = "greeting"
        self._lost: CloisterError | None = None
        self._first_call = b""
        self.folder = ""
        self.home = ""

    # --- opening and closing ---------------------------------------------------------------------

    def open(self, env: Mapping[str, str]) -> None:
        """Start the agent. Raises NoPython, ConnectionLost, or Refused if the work folder can't be made."""
        import paramiko

        try:
            transport = self._connection.transport
            self._ssh = transport.open_session(timeout=START_WITHIN_S)
            self._ssh.exec_command(self.start_command())
            backlog.limit(self._ssh)
            with contextlib.suppress(OSError):
                # Ended already? Then `receive` finds out why.
                self._ssh.sendall(bundle.first_message())
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionLost(self.node.name, f"cannot start the agent: {error}") from None
        identity, configured = self._expect(Pending(self, None))
        arguments = {"env": dict(env), "silence_s": SILENCE_S, "folder": self.node.work_folder}
        # Goes out in the post's thread, as soon as the agent has said whether it needs its source.
        self._first_call = self._call_frame(identity, "configure", arguments)
        self._post.add(self, self._ssh)
        if not self._greeted.wait(START_WITHIN_S):
            self.close()
            raise ConnectionLost(
                self.node.name,
                f"the agent did not start within {START_WITHIN_S:g} s{self._greeting()}",
                hint="does the login shell of this user run commands, and end its start-up files?",
            )
        if self._lost is not None:
            raise self._lost
        reply = configured.wait(START_WITHIN_S)
        self.folder, self.home = reply["folder"], reply["home"]

    def close(self) -> None:
        """End the agent, and with it all its attached processes."""
        self._post.remove(self)
        if self._ssh is not None:
            with contextlib.suppress(*_ENDED):
                self._ssh.close()
        self._fail_all(ConnectionLost(self.node.name, "the channel was closed"))

    @property
    def is_open(self) -> bool:
        return self._lost is None and self._ssh is not None

    def start_command(self) -> str:
        """What the node's login shell is given to run."""
        return bundle.start_command()

    def _greeting(self) -> str:
        text = bytes(self._incoming[:_GREETING_BYTES_MAX]).decode("utf-8", "replace").strip()
        return f"; it said: {text[-300:]}" if text else ""

    # --- sending ---------------------------------------------------------------------------------

    def send(self, kind: str, identity: int, payload: bytes = b"") -> None:
        self.send_frames(_HEADER.pack(len(payload), ord(kind), identity) + payload)

    def send_input(self, identity: int, data: bytes) -> None:
        for start in range(0, len(data), INPUT_BYTES_MAX):
            self.send("d", identity, data[start : start + INPUT_BYTES_MAX])

    def send_frames(self, frames: bytes) -> None:
        if self._lost is not None:
            raise self._lost
        try:
            with self._send_lock:
                self._sent_at = time.monotonic()
                self._ssh.sendall(frames)
        except _ENDED as error:
            self._lose(_not_sent(error))
            raise self._lost or error from None

    def keep_alive(self) -> None:
        """Ping, unless a transfer speaks already; give the node up when it has been silent too long."""
        if self._state != "talking" or self._lost is not None:
            return
        if time.monotonic() - self._heard_at > LOST_AFTER_S:
            self._lose(f"no answer for {LOST_AFTER_S:g} s")
            return
        if self._send_lock.acquire(blocking=False):
            try:
                if self._ssh.send_ready():
                    self._ssh.sendall(_HEADER.pack(0, ord("p"), 0))
            except _ENDED as error:
                self._lose(_not_sent(error))
            finally:
                self._send_lock.release()

    def begin(self, operation: str, *, on_data: Sink | None = None, **arguments: Any) -> Pending:
        """Send a call without waiting for its reply."""
        return self.begin_numbered(operation, on_data=on_data, **arguments)[1]

    def begin_numbered(
        self, operation: str, *, on_data: Sink | None = None, **arguments: Any
    ) -> tuple[int, Pending]:
        """As `begin`; the number is the id of the data frames that belong to the call."""
        identity, pending = self._expect(Pending(self, on_data))
        self.send_frames(self._call_frame(identity, operation, arguments))
        return identity, pending

    def call(
        self, operation: str, *, timeout_s: float | None = CALL_WITHIN_S, **arguments: Any
    ) -> Any:
        """The operation's reply. Raises Refused for the operating system's errors, Busy, ConnectionLost."""
        return self.begin(operation, **arguments).wait(timeout_s)

    def start(
        self,
        command: str | Sequence[str],
        *,
        folder: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bool | bytes | None = None,
        stdout: str | None = None,
        stderr: str | None = None,
        timeout_s: float = 0,
        once: bool = False,
        on_stdout: Sink | None = None,
        on_stderr: Sink | None = None,
    ) -> Process:
        """Start a process; returns at once.

        command: a text for the shell or a list of arguments.  folder: below the work folder unless
        absolute.  stdin: None for empty, bytes, or True to `write` to it.  stdout, stderr: a file on
        the node ("stdout" for the same as standard output); otherwise it goes to the sinks, or is kept.
        timeout_s: end its tree after so long (0: never).  once: when it has ended, its stragglers are
        killed and it is forgotten; then it cannot be signalled any more.
        """
        process = Process(self, next(self._numbers), on_stdout, on_stderr, once=once)
        self._waiting[process.identity] = process
        arguments: dict[str, Any] = {
            "command": command if isinstance(command, str) else list(command)
        }
        # More than a little follows in frames of its own, which have a limit.
        follows = isinstance(stdin, bytes) and len(stdin) > INPUT_BYTES_MAX
        given = {
            "folder": folder,
            "env": dict(env) if env else None,
            "stdin": True if follows else stdin,
            "stdout": stdout,
            "stderr": stderr,
            "timeout_s": float(timeout_s) or None,
            "once": once or None,
        }
        arguments.update((key, value) for key, value in given.items() if value is not None)
        self.send_frames(self._call_frame(process.identity, "start", arguments))
        if follows:
            assert isinstance(stdin, bytes)
            process.write(stdin)
            process.close_stdin()
        return process

    def forget(self, identity: int) -> None:
        self._waiting.pop(identity, None)
        if self._lost is None:
            # Frees what the agent keeps; there is no reply to wait for.
            self.send_frames(self._call_frame(0, "forget", {"process": identity}))

    def _expect(self, pending: Pending) -> tuple[int, Pending]:
        identity = next(self._numbers)
        self._waiting[identity] = pending
        return identity, pending

    def _call_frame(self, identity: int, operation: str, arguments: Mapping[str, Any]) -> bytes:
        payload = marshal.dumps((operation, dict(arguments)), 2)
        return (
            self._load_frame(operation) + _HEADER.pack(len(payload), ord("c"), identity) + payload
        )

    def _load_frame(self, operation: str) -> bytes:
        module = bundle.MODULE_OF.get(operation)
        if module is None or module in self._loaded:
            return b""
        self._loaded.add(module)
        payload = bundle.load_message(module, self._same_python)
        return _HEADER.pack(len(payload), ord("l"), 0) + payload

    # --- receiving, in the post's thread ---------------------------------------------------------

    def receive(self) -> None:
        """Take what has arrived. Called by the post when the SSH channel has data or has closed."""
        try:
            while self._ssh.recv_ready():
                self._incoming += self._ssh.recv(_READ_BYTES)
                self._heard_at = time.monotonic()
            closed = self._ssh.in_buffer.read_ready() is False and self._ssh.eof_received
        except _ENDED as error:
            self._lose(str(error) or "the connection ended")
            return
        try:
            if self._state != "talking":
                self._greet()
            if self._state == "talking":
                self._take_frames()
        except Exception as error:  # noqa: BLE001 - the post goes on for all other nodes
            self._lose(f"the agent does not keep to the protocol: {type(error).__name__}: {error}")
            return
        if closed or self._ssh.closed:
            self._lose(self._last_words())

    def _take_frames(self) -> None:
        position, available = 0, len(self._incoming)
        view = memoryview(self._incoming)
        try:
            while available - position >= _HEADER.size:
                length, kind, identity = _HEADER.unpack_from(view, position)
                if length > _FRAME_BYTES_MAX:
                    self._lose("the agent does not keep to the protocol")
                    return
                if available - position - _HEADER.size < length:
                    break
                position += _HEADER.size
                payload = bytes(view[position : position + length])
                position += length
                self._take(chr(kind), identity, payload)
        finally:
            view.release()
        del self._incoming[:position]

    def _take(self, kind: str, identity: int, payload: bytes) -> None:
        waiting = self._waiting.get(identity)
        if waiting is None:
            return
        if isinstance(waiting, Process):
            match kind:
                case "o" | "x":
                    waiting.said(kind, payload)
                case "s":
                    waiting.started(int.from_bytes(payload, "big"))
                case "q":
                    waiting.ended(payload)
                    if waiting.once:
                        self._waiting.pop(identity, None)
                case "e":
                    error = self._error(payload)
                    del self._waiting[identity]
                    waiting.failed(error)
        else:
            match kind:
                case "d":
                    waiting.data(payload)
                case "r":
                    value = json.loads(payload)
                    del self._waiting[identity]
                    waiting.replied(value)
                case "e":
                    error = self._error(payload)
                    del self._waiting[identity]
                    waiting.failed(error)

    def _error(self, payload: bytes) -> CloisterError:
        detail = json.loads(payload)
        kind, message = str(detail["kind"]), str(detail["message"])
        if kind == "busy":
            return Busy(
                f"{self.node.name} is in use: {message}", hint="wait for it to end, or end it"
            )
        if kind == "os":
            return Refused(self.node.name, message, number=int(detail["errno"]))
        if kind == "bug":
            return NodeError(self.node.name, f"the agent failed: {message}")
        return NodeError(self.node.name, message)

    def _greet(self) -> None:
        """Skip what the login shell says, then answer whether byte code was welcome."""
        start = self._incoming.find(bundle.HELLO)
        if start < 0:
            return
        version_at = start + len(bundle.HELLO)
        version_end = self._incoming.find(b"\x00", version_at)
        if version_end < 0 or len(self._incoming) <= version_end + 1:
            self._refuse_old(version_at, version_end)
            return
        wants_source = self._incoming[version_end + 1 : version_end + 2] == b"S"
        del self._incoming[: version_end + 2]
        self._same_python = not wants_source
        self._loaded.clear()
        self._state = "talking"
        # The core needs milliseconds to be ready; its input waits in the pipe meanwhile.
        self._answer((bundle.core_source() if wants_source else b"") + self._first_call)

    def _answer(self, data: bytes) -> None:
        try:
            with self._send_lock:
                self._ssh.sendall(data)
        except _ENDED as error:
            self._lose(_not_sent(error))
            return
        self._greeted.set()

    def _refuse_old(self, version_at: int, version_end: int) -> None:
        if version_end < 0:
            return
        version = bytes(self._incoming[version_at:version_end]).decode("ascii", "replace")
        major, _, minor = version.partition(".")
        if (int(major), int(minor)) < (3, 8):
            self._fail_all(NoPython(self.node.name, f"its Python is {version}; cloister needs 3.8"))

    # --- losing the connection -------------------------------------------------------------------

    def _last_words(self) -> str:
        if self._state == "greeting":
            # sshd may tell the end of the output before the exit status, which says what is wrong.
            self._ssh.status_event.wait(EXIT_STATUS_WITHIN_S)
        status = self._ssh.recv_exit_status() if self._ssh.exit_status_ready() else -1
        if self._state == "greeting" and status == bundle.NO_PYTHON:
            self._fail_all(
                NoPython(
                    self.node.name,
                    "no python3 found",
                    hint="install Python 3.8 or later on the node (Debian: apt install python3)",
                )
            )
        errors = b""
        while self._ssh.recv_stderr_ready() and len(errors) < _GREETING_BYTES_MAX:
            errors += self._ssh.recv_stderr(4096)
        said = errors.decode("utf-8", "replace").strip()
        greeting = self._greeting() if self._state == "greeting" else ""
        return "the agent ended" + (f": {said[-500:]}" if said else "") + greeting

    def _lose(self, reason: str) -> None:
        self._fail_all(
            ConnectionLost(
                self.node.name,
                f"the connection was lost: {reason}",
                hint="`cloister ls` shows the node's state, `cloister launch` replaces a dead node",
            )
        )

    def _fail_all(self, error: CloisterError) -> None:
        if self._lost is not None:
            return
        self._lost = error
        self._post.remove(self)
        waiting, self._waiting = self._waiting, {}
        for entry in waiting.values():
            if not (isinstance(entry, Process) and entry.is_over):
                entry.failed(error)
        self._greeted.set()
        self._state = "lost"
