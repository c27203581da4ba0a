from __future__ import annotations

from pathlib import Path

import pytest

from cloister.cluster import Cluster
from cloister.plan.observed import Node


def of(*roles: str) -> Cluster:
    nodes = tuple(
        Node(name=f"{role}{i}", roles=(role,), number=i, address="a", private_address="p")
        for i, role in enumerate(roles)
    )
    return Cluster(name="demo", uid="u", provider="local", folder=Path("/f"), nodes=nodes)


@pytest.mark.parametrize(
    ("roles", "front", "workers"),
    [
        (("workers", "driver", "manager"), "driver1", ["workers0"]),
        (("manager", "worker", "master"), "master2", ["worker1"]),
        (("a", "b"), "a0", ["a0", "b1"]),
    ],
)
def test_the_front_node_and_the_workers(
    roles: tuple[str, ...], front: str, workers: list[str]
) -> None:
    cluster = of(*roles)
    assert cluster.front.name == front
    assert [node.name for node in cluster.workers] == workers
