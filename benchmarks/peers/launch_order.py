"""What a launcher is asked and what it tells, in an interpreter of its own: standard library alone.

The order comes as JSON on standard input; the answer goes as JSON to standard output. What the launcher
itself prints goes to standard error.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping

_GREETING_WITHIN_S = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """`action` is "launch" or "destroy". `port` is where nodes have their SSH server, `folder` may be used."""

    action: str
    name: str
    nodes: int
    region: str
    port: int
    image: str
    key_pair: str
    folder: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """`ready_s`: when the last node was known to answer, by the wall clock; None if nobody waited for it.

    answering: how many did so when the launch was over, where that was not waited for.
    """

    ready_s: float | None = None
    answering: int | None = None


def carry_out(actions: Mapping[str, Callable[[Order], Outcome]]) -> None:
    order = Order(**json.load(sys.stdin))
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    used_s, began_s, failure = _cpu_s(), time.time(), ""
    outcome = Outcome()
    try:
        outcome = actions[order.action](order)
    except Exception as error:  # noqa: BLE001 - told to the benchmark
        traceback.print_exc()
        failure = f"{type(error).__name__}: {error}"
    told = {
        **dataclasses.asdict(outcome),
        "began_s": began_s,
        "returned_s": time.time(),
        "cpu_s": _cpu_s() - used_s,
        "failure": failure,
    }
    with answer:
        json.dump(told, answer)


def greets(address: str, port: int) -> bool:
    """Whether an SSH server answers; ConnectionRefusedError and others as they come."""
    with socket.create_connection((address, port), timeout=_GREETING_WITHIN_S) as connection:
        return connection.recv(4) == b"SSH-"


def _cpu_s() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
