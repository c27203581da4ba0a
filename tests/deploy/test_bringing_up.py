"""From a specification to nodes that answer, in one process, again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cloister.cluster import Cluster
from cloister.cluster.lifecycle import destroy
from cloister.config.spec import ClusterSpec
from cloister.deploy.bringing_up import bring_up, copy_names

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


def test_a_node_where_copying_fails_is_tried_again(
    local_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = local_cluster(2)
    in_the_way = cluster.folder / "nodes/workers1/home/cloister/servers"
    in_the_way.touch()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        in_the_way.unlink(missing_ok=True)

    copied = copy_names(cluster, servers=tmp_path / "servers", say=say)
    assert copied.errors == {}
    assert copied.nodes == ("workers1", "workers2")
    assert len(said) == 1 and said[0].startswith("workers1: ")


def test_a_node_where_it_goes_on_failing_is_reported_and_the_others_have_their_copies(
    local_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = local_cluster(2)
    in_the_way = cluster.folder / "nodes/workers1/home/cloister/servers"
    in_the_way.touch()
    copied = copy_names(cluster, servers=tmp_path / "servers", say=lambda text: None, within_s=0.0)
    assert copied.nodes == ("workers2",)
    assert set(copied.errors) == {"workers1"}
    there = cluster.folder / "nodes/workers2/home/cloister/servers/servers.txt"
    assert there.read_text() == (tmp_path / "servers/servers.txt").read_text()
