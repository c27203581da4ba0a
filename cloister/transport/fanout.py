"""The one place where concurrency lives: the same work on many nodes, bounded, with a deadline."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from cloister.errors import CloisterError, NodeError
from cloister.plan.observed import Node

T = TypeVar("T")

# Threads are cheap beside an SSH connection, whose time is mostly waiting for the node.
AT_ONCE = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class FanOut(Generic[T]):
    """What became of the work on each node, by node name in the order given."""

    values: Mapping[str, T]
    errors: Mapping[str, CloisterError]

    def raise_first(self) -> Mapping[str, T]:
        """The values, or the first error; when several nodes failed, it names them all."""
        if not self.errors:
            return self.values
        first = next(iter(self.errors.values()))
        if len(self.errors) > 1:
            from cloister.transport.fold import fold

            others = fold(self.errors)
            raise CloisterError(
                f"{len(self.errors)} nodes failed ({others}); the first: {first}", hint=first.hint
            )
        raise first


def fan_out(
    nodes: Iterable[Node],
    work: Callable[[Node], T],
    *,
    at_once: int = AT_ONCE,
    deadline_s: float | None = None,
    done: Callable[[Node, T | CloisterError], None] | None = None,
) -> FanOut[T]:
    """Do `work` on every node, `at_once` at a time; `done` is called in this thread as each ends.

    A CloisterError is that node's result. Any other exception is a bug and is raised here, once all the
    work in hand has ended. A node that is not through by the deadline is reported as such; its
    thread is left behind, since Python can stop none.
    """
    everyone = list(nodes)
    todo: queue.SimpleQueue[Node] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[Node, T | BaseException]] = queue.SimpleQueue()
    for node in everyone:
        todo.put(node)
    abandoned = threading.Event()
    for _ in range(min(at_once, len(everyone))):
        threading.Thread(target=_serve, args=(todo, ended, work, abandoned), daemon=True).start()
    results: dict[str, T | CloisterError] = {}
    bug: BaseException | None = None
    ends_at = None if deadline_s is None else time.monotonic() + deadline_s
    try:
        while len(results) < len(everyone):
            remaining = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            try:
                node, result = ended.get(timeout=remaining)
            except queue.Empty:
                break
            if isinstance(result, BaseException) and not isinstance(result, CloisterError):
                bug = bug or result
                result = NodeError(node.name, f"{type(result).__name__}: {result}")
            results[node.name] = result
            if done is not None:
                done(node, result)
    finally:
        abandoned.set()
    if bug is not None:
        raise bug
    for node in everyone:
        if node.name not in results:
            results[node.name] = NodeError(node.name, f"not done within {deadline_s:g} s")
    return _sorted(everyone, results)


def _sorted(everyone: list[Node], results: Mapping[str, T | CloisterError]) -> FanOut[T]:
    names = [node.name for node in everyone]
    return FanOut(
        values={n: r for n in names if not isinstance(r := results[n], CloisterError)},
        errors={n: r for n in names if isinstance(r := results[n], CloisterError)},
    )


def _serve(
    todo: queue.SimpleQueue[Node],
    ended: queue.SimpleQueue[tuple[Node, T | BaseException]],
    work: Callable[[Node], T],
    abandoned: threading.Event,
) -> None:
    while not abandoned.is_set():
        try:
            node = todo.get_nowait()
        except queue.Empty:
            return
        try:
            ended.put((node, work(node)))
        except BaseException as error:  # noqa: BLE001 - travels to the caller's thread
            ended.put((node, error))
