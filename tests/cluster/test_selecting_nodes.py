from pathlib import Path

import pytest

from cloister.cluster import Cluster
from cloister.errors import UsageError
from cloister.plan.observed import Node, ObservedNode


def node(name, *roles):
    return Node(name=name, roles=roles, number=1, address="x", private_address="x")


CLUSTER = Cluster(
    name="demo",
    uid="demo.1",
    provider="local",
    folder=Path("/nowhere"),
    nodes=(node("manager1", "manager", "master"), node("workers1", "workers")),
    dead=(ObservedNode(node=node("workers2", "workers"), state="dead", detail="its sshd is gone"),),
)


def test_nodes_are_selected_by_name_or_role_each_once_in_launch_order():
    selected = CLUSTER.select(["workers", "master", "manager1"])
    assert [entry.name for entry in selected] == ["manager1", "workers1"]


def test_of_role_gives_the_nodes_that_carry_it():
    assert [entry.name for entry in CLUSTER.of_role("master")] == ["manager1"]


def test_an_unknown_name_is_an_error_with_the_nearest_one():
    with pytest.raises(UsageError) as caught:
        CLUSTER.select(["worker1"])
    assert "worker1" in caught.value.message
    assert caught.value.hint == "did you mean workers1?"


def test_an_unknown_role_is_an_error_with_those_that_exist():
    with pytest.raises(UsageError) as caught:
        CLUSTER.of_role("zzz")
    assert caught.value.hint == "there are: manager, master, workers"


def test_a_dead_node_cannot_be_selected_and_the_error_says_why():
    with pytest.raises(UsageError, match="workers2 of cluster demo is dead: its sshd is gone"):
        CLUSTER.select(["workers2"])
