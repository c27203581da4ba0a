from cloister.config.spec import ClusterSpec
from cloister.plan.planned import planned_nodes


def spec(**fields):
    return ClusterSpec.model_validate({"name": "demo", **fields})


def shape(cluster):
    return [(node.name, node.roles, node.number) for node in planned_nodes(cluster)]


def test_nodes_are_named_by_role_and_number_in_the_order_of_the_roles():
    assert shape(spec(roles={"manager": 1, "workers": 2})) == [
        ("manager1", ("manager",), 1),
        ("workers1", ("workers",), 1),
        ("workers2", ("workers",), 2),
    ]


def test_a_role_that_is_the_same_as_another_adds_no_nodes():
    roles = {"manager": 1, "master": {"same_as": "manager"}, "driver": {"same_as": "master"}}
    assert shape(spec(roles=roles)) == [("manager1", ("manager", "master", "driver"), 1)]


def test_a_role_of_no_nodes_gives_none():
    assert shape(spec(roles={"workers": 0})) == []


def test_roles_that_are_the_same_as_each_other_end():
    roles = {"a": {"same_as": "b"}, "b": {"same_as": "a"}, "c": 1}
    assert shape(spec(roles=roles)) == [("c1", ("c",), 1)]


def test_local_nodes_have_the_configured_port_and_no_address_yet():
    node = planned_nodes(spec(roles={"w": 1}, local={"port": 2300}, work_folder="x"))[0]
    assert (node.port, node.address, node.work_folder) == (2300, "", "x")


def test_manual_nodes_are_as_named_and_inherit_what_ssh_says():
    nodes = planned_nodes(
        spec(
            provider="manual",
            ssh={"user": "me", "port": 2200, "gateway": "hop", "connect_timeout": "3s"},
            roles={"master": {"same_as": "head"}},
            nodes=[
                {"name": "big", "address": "h1", "roles": ["head"], "user": "you"},
                {"name": "a", "address": "h2", "roles": ["w"], "private_address": "10.0.0.2"},
                {"name": "b", "address": "h3", "roles": ["w"], "port": 22, "labels": {"rack": 3}},
            ],
        )
    )
    assert [(node.name, node.roles, node.number) for node in nodes] == [
        ("big", ("head", "master"), 1),
        ("a", ("w",), 1),
        ("b", ("w",), 2),
    ]
    assert [(n.user, n.port, n.private_address, n.gateway) for n in nodes] == [
        ("you", 2200, "h1", "hop"),
        ("me", 2200, "10.0.0.2", "hop"),
        ("me", 22, "h3", "hop"),
    ]
    assert nodes[2].labels == {"rack": 3}
    assert nodes[0].connect_timeout_s == 3.0
