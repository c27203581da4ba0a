"""Open connections to the nodes of a cluster, and commands on many of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cloister.errors import CloisterError, NodeError
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.connection import Pin, connect, gateways
from cloister.transport.fanout import AT_ONCE, FanOut, fan_out
from cloister.transport.post import Post
from cloister.transport.process import Outcome, Process

if TYPE_CHECKING:
    import fabric

OutputSink = Callable[[Node, str, bytes], None]


class Links:
    """Connections and agent channels by node; closing it ends every attached process.

    `marks` go into the environment of everything that is started, so that it can be found again.  ssh_config: the cluster's, for what OpenSSH does better.
    """

    def __init__(
        self,
        *,
        marks: Mapping[str, str] | None = None,
        pin: Pin | None = None,
        ssh_config: Path | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        self._marks = dict(marks or {})
        self._pin = pin
        self.at_once = at_once
        self.ssh_config = ssh_config
        self._post = Post()
        self._connections: dict[str, fabric.Connection] = {}
        self._channels: dict[str, Channel] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Links:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def connection(self, node: Node) -> fabric.Connection:
        """The open connection to the node; opened now if it is not."""
        with self._lock_of(node):
            return self._open_connection(node)

    def channel(self, node: Node) -> Channel:
        """The node's agent channel; connects and starts the agent if it is not running."""
        channel = self._channels.get(node.name)
        if channel is not None and channel.is_open:
            return channel
        with self._lock_of(node):
            return self._open_channel(node)

    def _lock_of(self, node: Node) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(node.name, threading.Lock())

    def _open_connection(self, node: Node) -> fabric.Connection:
        connection = self._connections.get(node.name)
        if connection is None or not connection.is_connected:
            connection = connect(node, pin=self._pin)
            self._connections[node.name] = connection
        return connection

    def _open_channel(self, node: Node) -> Channel:
        channel = self._channels.get(node.name)
        if channel is not None and channel.is_open:
            return channel
        channel = Channel(node, self._open_connection(node), self._post)
        channel.open({**self._marks, "CLOISTER_NODE": node.name})
        self._channels[node.name] = channel
        return channel

    def connect_all(
        self,
        nodes: Iterable[Node],
        *,
        deadline_s: float | None = None,
        done: Callable[[Node, fabric.Connection | CloisterError], None] | None = None,
    ) -> FanOut[fabric.Connection]:
        return fan_out(
            nodes, self.connection, at_once=self.at_once, deadline_s=deadline_s, done=done
        )

    def open_all(
        self,
        nodes: Iterable[Node],
        *,
        deadline_s: float | None = None,
        done: Callable[[Node, Channel | CloisterError], None] | None = None,
    ) -> FanOut[Channel]:
        return fan_out(nodes, self.channel, at_once=self.at_once, deadline_s=deadline_s, done=done)

    def is_warm(self, node: Node) -> bool:
        channel = self._channels.get(node.name)
        return channel is not None and channel.is_open

    def run(
        self,
        nodes: Iterable[Node],
        command: str | Sequence[str],
        *,
        folder: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        timeout_s: float = 0,
        on_output: OutputSink | None = None,
    ) -> FanOut[Outcome]:
        """The same command on every node, all at once, through their agents.

        Frames are sent from this thread one node after the other, which takes microseconds each, and
        then waited for: no thread per node is needed.  on_output: called in the post's thread with
        node, "stdout" or "stderr", and the bytes.
        """
        everyone = list(nodes)
        cold = [node for node in everyone if not self.is_warm(node)]
        errors: dict[str, CloisterError] = dict(self.open_all(cold).errors) if cold else {}
        running: dict[str, Process] = {}
        for node in everyone:
            if node.name in errors:
                continue
            try:
                running[node.name] = self._channels[node.name].start(
                    command,
                    folder=folder,
                    env=env,
                    stdin=stdin,
                    timeout_s=timeout_s,
                    once=True,
                    on_stdout=_sink(on_output, node, "stdout"),
                    on_stderr=_sink(on_output, node, "stderr"),
                )
            except CloisterError as error:
                errors[node.name] = error
        values: dict[str, Outcome] = {}
        ends_at = time.monotonic() + timeout_s + _GRACE_S if timeout_s else None
        for name, process in running.items():
            try:
                values[name] = process.wait(
                    None if ends_at is None else max(0.0, ends_at - time.monotonic())
                )
            except CloisterError as error:
                errors[name] = error
            except TimeoutError:
                errors[name] = NodeError(name, f"no outcome within {timeout_s + _GRACE_S:g} s")
        return FanOut(
            values={node.name: values[node.name] for node in everyone if node.name in values},
            errors={node.name: errors[node.name] for node in everyone if node.name in errors},
        )

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        for connection in self._connections.values():
            # Not connection.close(): it waits for each transport's thread in turn.
            for each in (connection, *gateways(connection)):
                if each.transport is not None:
                    each.transport.close()
        self._post.close()
        self._channels.clear()
        self._connections.clear()


# The agent needs time to end a tree whose time is over, and its word to travel.
_GRACE_S = 10.0


def _sink(on_output: OutputSink | None, node: Node, stream: str) -> Callable[[bytes], None] | None:
    if on_output is None:
        return None
    return lambda data: on_output(node, stream, data)
