import dataclasses

import pytest

from cloister.config.spec import ClusterSpec
from cloister.plan.launching import destroy_plan, launch_plan
from cloister.plan.observed import Observed, ObservedNode
from cloister.plan.planned import planned_nodes

MACHINE = {"machine": "c7i.large", "image": "ubuntu-24.04"}


def spec(**fields):
    return ClusterSpec.model_validate({"name": "demo", "roles": {"w": 2}, **fields})


def observed(cluster, *states, **changes):
    """The first nodes of the cluster in these states, as a provider that chose addresses sees them."""
    nodes = tuple(
        ObservedNode(
            node=dataclasses.replace(node, address=f"127.64.0.{number}", port=2222, **changes),
            state=state,
            detail="its sshd is gone" if state == "dead" else "",
        )
        for number, (node, state) in enumerate(
            zip(planned_nodes(cluster), states, strict=False), start=1
        )
    )
    return Observed(name="demo", provider=cluster.provider, uid="demo.1", nodes=nodes)


def told(plan):
    return [
        f"{type(action).__name__} {getattr(action, 'name', '')}: {getattr(action, 'reason', '')}"
        for action in plan.actions
    ]


@pytest.mark.parametrize(
    ("wanted", "before", "states", "expected"),
    [
        ({}, {}, (), ["Launch w1: missing", "Launch w2: missing"]),
        ({}, {}, ("running",), ["Keep w1: ", "Launch w2: missing"]),
        ({}, {}, ("running", "running"), ["Keep w1: ", "Keep w2: "]),
        ({}, {}, ("starting", "running"), ["Keep w1: ", "Keep w2: "]),
        (
            {},
            {},
            ("dead", "running"),
            [
                "Remove w1: dead: its sshd is gone",
                "Launch w1: dead: its sshd is gone",
                "Keep w2: ",
            ],
        ),
        (
            {},
            {"roles": {"w": 3}},
            ("running", "running", "dead"),
            ["Remove w3: the configuration no longer has it", "Keep w1: ", "Keep w2: "],
        ),
        (
            {"roles": {"w": 1}, "local": {"port": 2300}},
            {"roles": {"w": 1}},
            ("running",),
            [
                "Remove w1: its port is 2222, the configuration says 2300",
                "Launch w1: its port is 2222, the configuration says 2300",
            ],
        ),
    ],
)
def test_launch_makes_what_exists_equal_to_what_is_asked_for(wanted, before, states, expected):
    assert told(launch_plan(spec(**wanted), observed(spec(**before), *states))) == expected


def test_a_node_in_another_region_than_it_is_configured_in_is_replaced():
    cluster = spec(provider="ec2", ec2=MACHINE, roles={"w": {"regions": {"us-east-1": 2}}})
    there = observed(cluster, "running", "running")
    assert told(launch_plan(cluster, there)) == ["Keep w1: ", "Keep w2: "]
    moved = spec(
        provider="ec2", ec2=MACHINE, roles={"w": {"regions": {"us-east-1": 1, "eu-west-1": 1}}}
    )
    why = "it is in us-east-1, the configuration says eu-west-1"
    assert told(launch_plan(moved, there)) == [
        "Keep w1: ",
        f"Remove w2: {why}",
        f"Launch w2: {why}",
    ]


def test_a_node_without_a_region_belongs_into_that_of_the_cluster():
    cluster = spec(provider="ec2", ec2=MACHINE)
    there = observed(cluster, "running", region="us-east-1")
    at_home = launch_plan(cluster, dataclasses.replace(there, region="us-east-1"))
    assert told(at_home) == ["Keep w1: ", "Launch w2: missing"]
    assert at_home.launches[0].node.region == "us-east-1"
    elsewhere = launch_plan(cluster, dataclasses.replace(there, region="eu-west-1"))
    assert [type(action).__name__ for action in elsewhere.actions] == ["Remove", "Launch", "Launch"]


def test_a_kept_node_is_described_anew_and_stays_where_it_is():
    now = spec(roles={"w": 1, "master": {"same_as": "w"}}, work_folder="elsewhere")
    kept = launch_plan(now, observed(spec(roles={"w": 1}), "running")).kept[0].node
    assert kept.roles == ("w", "master")
    assert kept.work_folder == "elsewhere"
    assert (kept.address, kept.port) == ("127.64.0.1", 2222)


def test_manual_nodes_are_kept_even_when_they_do_not_answer():
    fields = {
        "provider": "manual",
        "roles": {},
        "nodes": [{"name": "a", "address": "h", "roles": ["w"]}],
    }
    plan = launch_plan(spec(**fields), observed(spec(**fields), "dead"))
    assert told(plan) == ["Keep a: "]
    assert plan.kept[0].node.address == "h"


def test_destroying_removes_every_node_and_then_the_rest():
    before = dataclasses.replace(observed(spec(), "running", "dead"), leftovers=("sleep",))
    assert told(destroy_plan(before)) == [
        "Remove w1: destroy",
        "Remove w2: destroy",
        "RemoveRest : ",
    ]


def test_destroying_nothing_is_a_plan_without_actions():
    plan = destroy_plan(Observed(name="demo", provider="local"))
    assert plan.actions == ()
    assert not plan.removes_cluster


def test_a_plan_says_what_would_change():
    before = observed(spec(roles={"w": 3}), "running", "dead", "running")
    assert launch_plan(spec(), before).describe() == (
        "demo (local):\n"
        "  - remove w3: the configuration no longer has it\n"
        "  - remove w2: dead: its sshd is gone\n"
        "  + launch w2 (w): dead: its sshd is gone\n"
        "  = keep 1 node as it is"
    )
