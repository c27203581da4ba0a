"""From a specification to nodes that answer, in one process, again and again."""

from __future__ import annotations

from pathlib import Path

from cloister.cluster import Cluster
from cloister.cluster.lifecycle import destroy
from cloister.config.spec import ClusterSpec
from cloister.deploy.bringing_up import bring_up

NAME = "again"


def brought_up(folder: Path) -> Cluster:
    spec = ClusterSpec.model_validate({"name": NAME, "roles": {"workers": 2}})
    return bring_up(
        spec,
        state=folder / "state",
        servers=folder / "servers",
        wait_s=10.0,
        report=lambda event: None,
        say=lambda text: None,
    )


def test_a_cluster_can_be_destroyed_and_launched_again_by_the_same_program(tmp_path: Path) -> None:
    """The second one has other keys at the same paths."""
    try:
        first = brought_up(tmp_path)
        destroy(NAME, state=first.folder.parent.parent)
        second = brought_up(tmp_path)
        assert first.uid != second.uid
    finally:
        destroy(NAME, state=tmp_path / "state")


def test_the_names_are_here_and_on_the_nodes(tmp_path: Path) -> None:
    try:
        cluster = brought_up(tmp_path)
        expected = "".join(f"{node.address}\n" for node in cluster.nodes)
        assert (tmp_path / "servers/workers.txt").read_text() == expected
        for node in cluster.nodes:
            there = cluster.folder / "nodes" / node.name / "home/cloister/servers/workers.txt"
            assert there.read_text() == expected
    finally:
        destroy(NAME, state=tmp_path / "state")
