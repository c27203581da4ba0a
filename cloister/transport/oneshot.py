"""One command on nodes that have no agent yet: a plain SSH exec, watched by a few lines of shell.

Starting an agent takes longer than most commands. The watcher gives a single command the same promise:
if the connection ends, the command's whole session is killed, and what left the session is found by
its mark. What the command leaves in the background is ended only if it holds the output; a daemon that
closed it stays, as it would with ssh.
"""

from __future__ import annotations

import secrets
import shlex
import signal as signals
import time
from collections.abc import Iterable, Mapping
from typing import Any

from cloister.errors import ConnectionLost, NodeError
from cloister.plan.observed import Node
from cloister.transport.fanout import FanOut, fan_out
from cloister.transport.links import Links, OutputSink
from cloister.transport.process import Outcome, signal_name

# sshd made the login shell a session of its own, hence `kill -9 0`. The watcher reads what only ever
# ends: descriptor 3, our end of standard input. SHLVL: without it bash takes itself for a login by sshd
# and reads .bashrc once more.
# Swept until nothing is found, as what forks meanwhile is in no list; but not for ever.
_SWEEP = """
for n in 1 2 3 4 5 6 7 8 9; do
  f=$(grep -lsz '^CLOISTER_PROCESS={mark}$' /proc/[0-9]*/environ)
  [ -n "$f" ] || break
  for e in $f; do
    p=${{e#/proc/}}; kill -9 "${{p%/environ}}" 2>/dev/null
  done
done
"""
_SCRIPT = """
SHLVL=1 CLOISTER_PROCESS={mark} {marks}
export SHLVL CLOISTER_PROCESS {names}
[ -d {folder} ] || mkdir -p {folder}
cd {folder} || exit 125
exec 3<&0 </dev/null
{{ read -r _ <&3
  {sweep}
  kill -9 0
}} >/dev/null 2>&1 &
b=/bin/bash; [ -x $b ] || b=sh
$b -c {command} 3<&-
s=$?
kill -9 $!
exit $s
"""
# How long output may go on after the command has ended, before what holds it is killed.
_STRAGGLERS_S = 0.3
_TICK_S = 0.2
_OPEN_WITHIN_S = 30.0
_NO_FOLDER = 125
_READ_BYTES = 1 << 16


def run_once(
    links: Links,
    nodes: Iterable[Node],
    command: str,
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 0,
    on_output: OutputSink | None = None,
) -> FanOut[Outcome]:
    """The command once on each node. As Links.run, but CPU times and memory are not known (0)."""

    def work(node: Node) -> Outcome:
        return _run(links.connection(node), node, command, env or {}, timeout_s, on_output)

    return fan_out(nodes, work, at_once=links.at_once)


def _run(
    connection: Any,
    node: Node,
    command: str,
    env: Mapping[str, str],
    timeout_s: float,
    on_output: OutputSink | None,
) -> Outcome:
    import paramiko

    started = time.time()
    ends_at = time.monotonic() + timeout_s if timeout_s else None
    mark = secrets.token_hex(8)
    try:
        channel = connection.transport.open_session(timeout=_OPEN_WITHIN_S)
        channel.exec_command(script(node, command, env, mark))
        reader = _Reader(node, channel, on_output)
        timed_out = not reader.until_over(ends_at)
        if not timed_out and not reader.at_end:
            _sweep(connection, mark)
            reader.until_end()
        status = -1 if timed_out else channel.recv_exit_status()
        channel.close()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise ConnectionLost(node.name, f"the connection was lost: {error}") from None
    stdout, stderr = (b"".join(reader.kept[stream]) for stream in ("stdout", "stderr"))
    if status == _NO_FOLDER and (b"mkdir" in stderr or b"cd:" in stderr):
        raise NodeError(node.name, stderr.decode("utf-8", "replace").strip())
    if status < 0 and not timed_out:
        raise ConnectionLost(node.name, "the session ended before the command had a status")
    # The watching shell reports a signal as 128 + its number, and only knows that.
    signalled = status - 128 in signals.valid_signals()
    return Outcome(
        status=None if timed_out or signalled else status,
        signal=signal_name(status - 128) if signalled else None,
        timed_out=timed_out,
        started_at=started,
        ended_at=time.time(),
        user_s=0.0,
        system_s=0.0,
        max_rss_bytes=0,
        stdout=stdout,
        stderr=stderr,
    )


def script(node: Node, command: str, env: Mapping[str, str], mark: str) -> str:
    """What the node's login shell gets; any of them can run it."""
    text = _SCRIPT.format(
        mark=mark,
        marks=" ".join(f"{key}={shlex.quote(value)}" for key, value in env.items()),
        names=" ".join(env),
        folder=shlex.quote(node.work_folder),
        sweep=_SWEEP.format(mark=mark).strip(),
        command=shlex.quote(command),
    )
    return "exec sh -c " + shlex.quote(text.strip())


def _sweep(connection: Any, mark: str) -> None:
    """End what the command left in the background, or its output would never end."""
    channel = connection.transport.open_session(timeout=_OPEN_WITHIN_S)
    channel.exec_command("exec sh -c " + shlex.quote(_SWEEP.format(mark=mark).strip()))
    channel.recv_exit_status()
    channel.close()


class _Reader:
    """What a command says; `kept` is what no sink took, `at_end` that nothing more can come."""

    def __init__(self, node: Node, channel: Any, on_output: OutputSink | None) -> None:
        self._node = node
        self._channel = channel
        self._on_output = on_output
        self.kept: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self.at_end = False
        channel.settimeout(_TICK_S)

    def until_over(self, ends_at: float | None) -> bool:
        """Until the command has ended, and its output has or does not soon; False if time is up first."""
        ended_at: float | None = None
        while not self.at_end:
            now = time.monotonic()
            if ends_at is not None and now > ends_at:
                return False
            if ended_at is None and self._channel.exit_status_ready():
                ended_at = now
            if ended_at is not None and now > ended_at + _STRAGGLERS_S:
                return True
            self._read()
        return True

    def until_end(self) -> None:
        """After everything that could write was killed."""
        ends_at = time.monotonic() + _OPEN_WITHIN_S
        while not self.at_end and time.monotonic() < ends_at:
            self._read()

    def _read(self) -> None:
        try:
            data = self._channel.recv(_READ_BYTES)
        except TimeoutError:
            data = None
        while self._channel.recv_stderr_ready():
            self._take("stderr", self._channel.recv_stderr(_READ_BYTES))
        if data:
            self._take("stdout", data)
        elif data == b"":
            while errors := self._channel.recv_stderr(_READ_BYTES):
                self._take("stderr", errors)
            self.at_end = True

    def _take(self, stream: str, data: bytes) -> None:
        if self._on_output is not None:
            self._on_output(self._node, stream, data)
        else:
            self.kept[stream].append(data)
