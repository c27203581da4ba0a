"""A process on a node as seen from here, and how it ended."""

from __future__ import annotations

import dataclasses
import signal as signals
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from cloister.errors import CloisterError, NodeError

if TYPE_CHECKING:
    from cloister.transport.channel import Channel

# As in agent/core.py, which may import nothing of ours.
_OUTCOME = struct.Struct(">iiIddddQ")
_TIMED_OUT = 1

Sink = Callable[[bytes], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a process ended: exit status or signal name, times of the node's clock, resources, output.

    `stdout` and `stderr` hold what no sink and no file took.
    """

    status: int | None
    signal: str | None
    timed_out: bool
    started_at: float
    ended_at: float
    user_s: float
    system_s: float
    max_rss_bytes: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.timed_out

    def __str__(self) -> str:
        if self.timed_out:
            return f"timed out after {self.ended_at - self.started_at:.1f} s"
        return f"killed by {self.signal}" if self.signal else f"exit status {self.status}"


def signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Process:
    """Started through a channel; everything it says arrives in the post's thread."""

    def __init__(
        self,
        channel: Channel,
        identity: int,
        on_stdout: Sink | None,
        on_stderr: Sink | None,
        *,
        once: bool = False,
    ) -> None:
        self.channel = channel
        self.once = once
        self.identity = identity
        self.pid = 0
        self._captured: dict[str, list[bytes]] = {"o": [], "x": []}
        self._sinks = {
            "o": on_stdout or self._captured["o"].append,
            "x": on_stderr or self._captured["x"].append,
        }
        self._started = threading.Event()
        self._ended = threading.Event()
        self._outcome: Outcome | None = None
        self._error: Exception | None = None
        self._watchers: list[Callable[[], None]] = []

    # --- called by the channel -------------------------------------------------------------------

    def said(self, kind: str, data: bytes) -> None:
        if self._error is not None:
            return
        try:
            self._sinks[kind](data)
        except Exception as error:  # noqa: BLE001 - raised by `wait`, in the thread that it concerns
            self._error = error
            self._finish()

    def started(self, pid: int) -> None:
        self.pid = pid
        self._started.set()

    def ended(self, payload: bytes) -> None:
        if self._ended.is_set():
            return
        status, number, flags, began, ended, user, system, rss = _OUTCOME.unpack(payload)
        self._outcome = Outcome(
            status=None if number else status,
            signal=signal_name(number) if number else None,
            timed_out=bool(flags & _TIMED_OUT),
            started_at=began,
            ended_at=ended,
            user_s=user,
            system_s=system,
            max_rss_bytes=rss,
            stdout=b"".join(self._captured["o"]),
            stderr=b"".join(self._captured["x"]),
        )
        self._finish()

    def failed(self, error: CloisterError) -> None:
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self._started.set()
        self._ended.set()
        for watcher in self._watchers:
            watcher()

    # --- for the user ----------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        return self._ended.is_set()

    def when_over(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` when it is over, at once if it is already; in the post's thread."""
        self._watchers.append(watcher)
        if self._ended.is_set():
            watcher()

    def wait_started(self, timeout_s: float | None = 30.0) -> int:
        """The pid; the error if it could not be started."""
        if not self._started.wait(timeout_s):
            raise NodeError(self.channel.node.name, f"no process started within {timeout_s:g} s")
        if self._error is not None:
            raise self._error
        return self.pid

    def wait(self, timeout_s: float | None = None) -> Outcome:
        """How it ended. Raises TimeoutError if it still runs, NodeError if that can't be known, and what
        a sink raised.
        """
        if not self._ended.wait(timeout_s):
            raise TimeoutError(f"{self.channel.node.name}: still running after {timeout_s:g} s")
        if self._error is not None:
            raise self._error
        assert self._outcome is not None
        return self._outcome

    def write(self, data: bytes) -> None:
        self.channel.send_input(self.identity, data)

    def close_stdin(self) -> None:
        self.channel.send("z", self.identity)

    def signal(self, number: int) -> int:
        """Signal the whole tree; how many processes got it."""
        reached: int = self.channel.call("signal", process=self.identity, number=int(number))
        return reached

    def stop(self, number: int = signals.SIGTERM, *, grace_s: float = 5.0) -> None:
        """End the whole tree: this signal, then SIGKILL after the grace. Returns when it is gone."""
        self.channel.call(
            "stop",
            timeout_s=grace_s + 30.0,
            process=self.identity,
            number=int(number),
            grace_s=float(grace_s),
        )

    def forget(self) -> None:
        """Kill stragglers of the ended process and free what the agent keeps of it."""
        self.channel.forget(self.identity)
