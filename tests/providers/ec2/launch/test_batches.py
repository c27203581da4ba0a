from __future__ import annotations

import dataclasses

import pytest

from cloister.config.spec import ClusterSpec
from cloister.plan.planned import planned_nodes
from cloister.providers.ec2.image.images import Image
from cloister.providers.ec2.launch.batches import (
    Batch,
    Rung,
    Site,
    batches,
    ladder,
    machine_of,
    request,
)
from cloister.providers.ec2.tags import Identity

IDENTITY = Identity(name="c", uid="c.1234", expires=2_000_000_000, home="us-east-1", version="1")
IMAGE = Image(id="ami-1", name="base", architecture="x86_64", root_device="/dev/xvda")
SITE = Site(
    region="us-east-1",
    vpc="vpc-1",
    groups=("sg-1",),
    key_pair="cloister-c",
    zones=("us-east-1a", "us-east-1b"),
    subnets={"us-east-1a": "subnet-a", "us-east-1b": "subnet-b"},
    offered={
        "c7i.large": frozenset({"us-east-1a", "us-east-1b"}),
        "m7i.large": frozenset({"us-east-1b"}),
    },
    images={("workers", kind): IMAGE for kind in ("c7i.large", "m7i.large")},
    placement_groups={},
)


def cluster(**changes: object) -> ClusterSpec:
    ec2 = {"region": "us-east-1", "machine": "c7i.large", "image": "ubuntu-24.04"}
    data: dict[str, object] = {"name": "c", "provider": "ec2", "roles": {"workers": 3}}
    extra = changes.pop("ec2", {})
    assert isinstance(extra, dict)
    return ClusterSpec.model_validate({**data, "ec2": {**ec2, **extra}, **changes})


def planned(spec: ClusterSpec) -> list[str]:
    return [f"{batch.region} {batch}" for batch in batches(planned_nodes(spec))]


def asked(spec: ClusterSpec, batch: Batch, rung: Rung, attempt: int = 0) -> dict:
    return request(
        batch,
        rung,
        cluster=spec,
        site=SITE,
        identity=IDENTITY,
        user="ubuntu",
        attempt=attempt,
    )


BATCH = Batch(region="us-east-1", roles=("workers",), first=1, count=3)
RUNG = Rung(market="on-demand", machine="c7i.large", zone="us-east-1a")


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ({"workers": 3}, ["us-east-1 workers[1-3]"]),
        ({"manager": 1, "workers": 2}, ["us-east-1 manager1", "us-east-1 workers[1-2]"]),
        (
            {"workers": {"regions": {"us-east-1": 2, "eu-west-1": 1}}},
            ["eu-west-1 workers3", "us-east-1 workers[1-2]"],
        ),
        (
            {"workers": 45},
            ["us-east-1 workers[1-20]", "us-east-1 workers[21-40]", "us-east-1 workers[41-45]"],
        ),
    ],
)
def test_nodes_of_a_role_and_region_are_launched_together(
    roles: dict[str, object], expected: list[str]
) -> None:
    assert planned(cluster(roles=roles)) == expected


def test_nodes_with_gaps_between_them_are_launched_apart() -> None:
    nodes = [node for node in planned_nodes(cluster(roles={"workers": 6})) if node.number != 3]
    assert [str(batch) for batch in batches(nodes)] == ["workers[1-2]", "workers[4-6]"]


@pytest.mark.parametrize(
    ("roles", "sizes"),
    [
        ({"workers": 30}, [20, 10]),
        ({"workers": 100}, [20] * 5),
        ({"manager": 1, "workers": 99}, [1, 25, 25, 25, 24]),
        ({"workers": 500}, [100] * 5),
        ({"workers": 1000}, [100] * 10),
        ({"manager": 1, "workers": 999}, [1, *[100] * 9, 99]),
        ({"workers": {"regions": {"eu-west-1": 100, "us-east-1": 200}}}, [20] * 5 + [40] * 5),
        ({f"r{number}": 30 for number in range(6)}, [30] * 6),
    ],
)
def test_what_aws_takes_at_once_is_launched_at_once_and_more_in_few_calls(
    roles: dict[str, object], sizes: list[int]
) -> None:
    nodes = planned_nodes(cluster(roles=roles))
    found = batches(nodes)
    assert [batch.count for batch in found] == sizes
    names = {name for batch in found for name in batch.names}
    assert names == {node.name for node in nodes}


def test_the_rest_of_a_batch_is_what_did_not_fit() -> None:
    assert str(BATCH.rest(1)) == "workers[2-3]"
    assert BATCH.rest(3) is None


def test_the_ladder_goes_from_zone_to_type_to_market_and_leaves_out_what_no_zone_has() -> None:
    spec = cluster(ec2={"machine": ["c7i.large", "m7i.large"], "market": ["spot", "on-demand"]})
    assert [str(rung) for rung in ladder(machine_of(spec, "workers"), SITE)] == [
        f"{machine} ({market}) in us-east-1{zone}"
        for market in ("spot", "on-demand")
        for machine, zone in (("c7i.large", "a"), ("c7i.large", "b"), ("m7i.large", "b"))
    ]


def test_zones_are_tried_in_the_configured_order() -> None:
    spec = cluster(ec2={"zones": ["us-east-1b", "us-east-1a"]})
    found = ladder(machine_of(spec, "workers"), SITE)
    assert [rung.zone for rung in found] == ["us-east-1b", "us-east-1a"]


def test_a_role_may_differ_from_the_cluster() -> None:
    spec = cluster(roles={"workers": {"machine": "m7i.large", "disk": 50}, "others": 1})
    assert machine_of(spec, "workers").machines == ("m7i.large",)
    assert machine_of(spec, "workers").disk == 50
    assert machine_of(spec, "others").machines == ("c7i.large",)
    assert machine_of(spec, "others").disk is None


def test_the_same_is_asked_for_with_the_same_token() -> None:
    assert asked(cluster(), BATCH, RUNG) == asked(cluster(), BATCH, RUNG)
    assert len(asked(cluster(), BATCH, RUNG)["ClientToken"]) == 64


def test_whatever_differs_has_another_token() -> None:
    tokens = [
        asked(cluster(), BATCH, RUNG)["ClientToken"],
        asked(cluster(), BATCH, RUNG, attempt=1)["ClientToken"],
        asked(cluster(), dataclasses.replace(BATCH, count=2), RUNG)["ClientToken"],
        asked(cluster(), BATCH, dataclasses.replace(RUNG, zone="us-east-1b"))["ClientToken"],
        asked(cluster(), BATCH, dataclasses.replace(RUNG, market="spot"))["ClientToken"],
        asked(cluster(ec2={"disk": 9}), BATCH, RUNG)["ClientToken"],
    ]
    assert len(set(tokens)) == len(tokens)


def test_everything_that_a_launch_makes_is_tagged_in_the_call() -> None:
    made = asked(cluster(), BATCH, dataclasses.replace(RUNG, market="spot"))
    kinds = {entry["ResourceType"] for entry in made["TagSpecifications"]}
    assert kinds == {"instance", "volume", "network-interface", "spot-instances-request"}
    for entry in made["TagSpecifications"]:
        tags = {tag["Key"]: tag["Value"] for tag in entry["Tags"]}
        assert tags["cloister:cluster"] == "c"
        assert tags["cloister:expires"] == "2000000000"
        assert tags["cloister:first"] == "1"


def test_a_node_ends_itself_and_takes_its_disk_along() -> None:
    made = asked(cluster(), BATCH, RUNG)
    assert made["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert "shutdown -P +$m" in made["UserData"].splitlines()[1]
    assert made["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True
    assert made["MetadataOptions"]["HttpTokens"] == "required"


def test_nodes_of_a_placement_group_are_launched_all_or_none() -> None:
    assert asked(cluster(), BATCH, RUNG)["MinCount"] == 1
    assert asked(cluster(ec2={"placement": "cluster"}), BATCH, RUNG)["MinCount"] == 3
