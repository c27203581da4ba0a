import secrets
import socket

import pytest
from seen import is_alive, ssh, sshd_of

from cloister.cluster.lifecycle import destroy, launch, open_cluster
from cloister.cluster.listing import listing
from cloister.config.spec import ClusterSpec
from cloister.errors import PartlyDone, UsageError


def manual(name, *nodes, **fields):
    return ClusterSpec.model_validate(
        {"name": name, "provider": "manual", "nodes": list(nodes), **fields}
    )


def entry(node, name, **fields):
    """A real sshd node, described as a machine that was there already."""
    return {
        "name": name,
        "address": node.address,
        "port": node.port,
        "user": node.user,
        "key": node.key,
        "roles": ["w"],
        **fields,
    }


@pytest.fixture(scope="module")
def machines(module_cluster):
    return module_cluster(2)


@pytest.fixture
def name(tmp_path):
    name = f"manual-{secrets.token_hex(4)}"
    yield name
    destroy(name, state=tmp_path)


def test_machines_are_used_as_they_are_and_never_destroyed(machines, name, tmp_path):
    first, second = machines.nodes
    spec = manual(
        name,
        entry(first, "big", host_key=first.host_key, region="here"),
        entry(second, "small", host_key=second.host_key),
    )
    cluster = launch(spec, state=tmp_path)
    assert [node.name for node in cluster.nodes] == ["big", "small"]
    assert cluster.nodes[0].region == "here"
    assert ssh(cluster, "big", "echo $CLOISTER_NODE").stdout == "workers1\n"
    assert [found.name for found in listing(tmp_path).clusters] == [name]
    receipt = destroy(name, state=tmp_path)
    assert "forgot" in receipt.describe()
    assert listing(tmp_path).clusters == ()
    assert is_alive(sshd_of(machines, "workers1"))


def test_a_machine_that_does_not_answer_is_said_and_the_others_can_be_used(
    machines, name, tmp_path
):
    node = machines.nodes[0]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        gone = {"name": "gone", "address": "127.0.0.1", "port": port, "roles": ["w"]}
        with pytest.raises(PartlyDone, match=f"gone: dead, connecting to 127.0.0.1:{port}"):
            launch(manual(name, entry(node, "here"), gone), state=tmp_path)
    cluster = open_cluster(name, state=tmp_path, allow_dead=True)
    assert [entry.name for entry in cluster.nodes] == ["here"]


def test_what_the_configuration_says_anew_holds_from_the_next_launch(machines, name, tmp_path):
    first, second = machines.nodes
    launch(manual(name, entry(first, "a")), state=tmp_path)
    cluster = launch(manual(name, entry(second, "a", roles=["w", "extra"])), state=tmp_path)
    assert cluster.nodes[0].address == second.address
    assert cluster.nodes[0].roles == ("w", "extra")


def test_nodes_behind_a_gateway_are_not_probed(name, tmp_path):
    node = {"name": "far", "address": "192.0.2.1", "roles": ["w"]}
    cluster = launch(manual(name, node, ssh={"gateway": "hop.invalid"}), state=tmp_path)
    assert cluster.nodes[0].gateway == "hop.invalid"


def test_a_cluster_of_another_provider_is_not_taken_over(name, tmp_path):
    node = {"name": "far", "address": "192.0.2.1", "roles": ["w"]}
    launch(manual(name, node, ssh={"gateway": "hop.invalid"}), state=tmp_path)
    local = ClusterSpec.model_validate({"name": name, "roles": {"w": 1}})
    with pytest.raises(UsageError, match="exists with provider manual"):
        launch(local, state=tmp_path)
