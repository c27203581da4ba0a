"""Ending a benchmark's processes on all nodes: by mark, by exact name, and who is on its ports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from cloister.errors import CloisterError
from cloister.experiment.benchmark import MARK, Benchmark
from cloister.plan.observed import Node
from cloister.transport.links import Links


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A process that matched; `why` is its mark, its name or its port. `benchmark` is its mark's."""

    node: str
    pid: int
    command: str
    executable: str
    benchmark: str
    why: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Killed:
    """Each process once, however many nodes share its machine; the ports that others still hold."""

    ended: tuple[Found, ...]
    resisted: tuple[Found, ...]
    ports_left: tuple[tuple[str, int, str], ...]
    errors: Mapping[str, CloisterError]


def kill_all(
    links: Links,
    nodes: Sequence[Node],
    benchmark: Benchmark,
    cluster: str,
    ports: Mapping[str, Sequence[int]],
) -> Killed:
    """SIGKILL on every node. Nothing that carries the mark of another cluster than `cluster` is touched.

    ports: by node; a listener counts at the node's own address and at a wildcard.
    """
    errors = dict(links.open_all(nodes).errors)
    replies = [
        (
            node,
            links.channel(node).begin(
                "end_processes",
                marks=[f"CLOISTER_CLUSTER={cluster}", f"{MARK}={benchmark.name}"],
                names=list(benchmark.executables),
                ports=list(ports.get(node.name, ())),
                address=node.private_address,
                cluster=cluster,
            ),
        )
        for node in nodes
        if node.name not in errors
    ]
    found: dict[tuple[str, int, int], Found] = {}
    killed: set[tuple[str, int, int]] = set()
    left: dict[tuple[str, int, str], str] = {}
    for node, reply in replies:
        try:
            answer = reply.wait()
        except CloisterError as error:
            errors[node.name] = error
            continue
        for entry in answer["processes"]:
            key = (answer["space"], entry["pid"], entry["start"])
            found.setdefault(key, _found(node, entry))
            if entry["killed"]:
                killed.add(key)
        for entry in answer["ports_left"]:
            left.setdefault((answer["space"], entry["port"], entry["why"]), node.name)
    return Killed(
        ended=tuple(entry for key, entry in found.items() if key in killed),
        resisted=tuple(entry for key, entry in found.items() if key not in killed),
        ports_left=tuple((name, port, why) for (_, port, why), name in left.items()),
        errors=errors,
    )


def listeners(
    links: Links, node: Node, port: int, cluster: str
) -> tuple[tuple[Found, ...], tuple[str, ...]]:
    """Who listens on the node's port: processes, and words about those that are not known or not ours."""
    answer = links.channel(node).call(
        "list_processes", ports=[port], address=node.private_address, cluster=cluster
    )
    found = tuple(_found(node, entry) for entry in answer["processes"])
    return found, tuple(entry["why"] for entry in answer["ports_left"])


def _found(node: Node, entry: Mapping[str, Any]) -> Found:
    """Nodes may share a machine: a marked process says itself to which of them it belongs."""
    return Found(
        node=entry["node"] or node.name,
        pid=entry["pid"],
        command=entry["command"],
        executable=entry["executable"],
        benchmark=entry["benchmark"],
        why=entry["why"],
    )
