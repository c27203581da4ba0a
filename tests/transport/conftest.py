"""A small cluster of real sshd nodes for all tests of the transport; each test has its own work folder."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloister.cluster import Cluster
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.links import Links


@pytest.fixture(scope="session")
def cluster(session_cluster: Callable[..., Cluster]) -> Cluster:
    """Shared by the tests that leave its sshds and homes as they are."""
    return session_cluster(3)


@pytest.fixture
def own_node(local_cluster: Callable[..., Cluster]) -> Node:
    """A node whose home and sshd this test may change."""
    return local_cluster(1).nodes[0]


@pytest.fixture
def nodes(cluster: Cluster) -> tuple[Node, ...]:
    """The nodes of the shared cluster with a work folder of this test's own."""
    folder = f"work-{secrets.token_hex(4)}"
    return tuple(dataclasses.replace(node, work_folder=folder) for node in cluster.nodes)


@pytest.fixture
def node(nodes: tuple[Node, ...]) -> Node:
    return nodes[0]


@pytest.fixture
def links(cluster: Cluster) -> Iterator[Links]:
    with Links(marks=cluster.marks, ssh_config=cluster.ssh_config) as links:
        yield links


@pytest.fixture
def channel(links: Links, node: Node) -> Channel:
    return links.channel(node)


@pytest.fixture
def folder(channel: Channel) -> Path:
    """The test's work folder on the node, seen from here: local nodes share this machine's files."""
    return Path(channel.folder)


@pytest.fixture
def mark() -> str:
    """Something to find processes by in their command lines."""
    return f"mark-{secrets.token_hex(6)}"
