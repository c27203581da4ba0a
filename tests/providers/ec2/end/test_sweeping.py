"""`gc` on the simulated EC2: what nobody needs is found and removed, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from cloud.client import Cloud
from cloud.using import UBUNTU, in_state, make_key
from ec2_account import Account

from cloister.cluster.garbage import Findings, collect_garbage, find_garbage
from cloister.cluster.lifecycle import open_cluster
from cloister.providers.ec2 import tags
from cloister.transport.links import Links

HOUR_S = 3600


@pytest.fixture
def ec2(cloud: Cloud) -> Any:
    return boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=cloud.endpoint,
        aws_access_key_id="AKIASIMULATED0000000",
        aws_secret_access_key="simulated",
    )


def found(account: Account, state: Path) -> dict[str, list[str]]:
    """Kind → why, of this cluster's things."""
    kinds: dict[str, list[str]] = {}
    for one in find_garbage(state=state).things:
        if one.thing.cluster == account.name:
            kinds.setdefault(one.thing.kind, []).append(one.why)
    return kinds


def collected(state: Path) -> Findings:
    done = collect_garbage(state=state)
    assert done.left == ()
    return done


def over(account: Account, seconds: float = 4 * HOUR_S + 900) -> None:
    """As if the lease had ended so long ago: tags are compared with this machine's clock, which does not jump."""
    account.cloud.advance(seconds)
    account.cloud.settle()
    ended = str(int(account.expires()) - int(seconds))
    account.retag({tags.EXPIRES: ended})


def test_what_a_cluster_leaves_to_which_nobody_comes_back(account: Account, tmp_path: Path) -> None:
    account.launch(ec2={"placement": "cluster"})
    over(account)
    assert account.living() == []
    elsewhere = tmp_path / "other"
    assert found(account, elsewhere) == {
        "placement group": ["its cluster's lease is over"] * 2,
        "key pair": ["its cluster's lease is over"],
        "security group": ["its cluster's lease is over"],
    }
    collected(elsewhere)
    assert account.billable() == []


def test_a_node_that_does_not_end_itself(account: Account, tmp_path: Path) -> None:
    cluster = account.launch()
    with Links(marks=cluster.marks, pin=lambda node, key: None) as links:
        links.run(cluster.nodes[:1], "shutdown -c").raise_first()
    over(account)
    assert len(account.living()) == 1
    assert found(account, tmp_path / "other")["instance"] == ["it has not ended itself"]
    collected(account.state)
    assert account.billable() == []
    # The files of a cluster that is known here go with it.
    assert not (account.state / "clusters" / account.name).exists()


def test_a_cluster_whose_lease_runs_is_left_alone(account: Account, tmp_path: Path) -> None:
    account.launch()
    before = account.billable()
    assert found(account, tmp_path / "other") == {}
    collected(tmp_path / "other")
    assert account.billable() == before
    assert len(open_cluster(account.name, state=account.state).nodes) == 3


def test_a_volume_and_an_address_of_a_cluster_that_is_gone(
    account: Account, tmp_path: Path, ec2: Any
) -> None:
    marks = tags.Identity(
        name=account.name, uid=f"{account.name}.1234", expires=1_700_000_000, home="us-east-1"
    ).tags()
    for kind, make in (
        (
            "volume",
            lambda **given: ec2.create_volume(AvailabilityZone="us-east-1a", Size=8, **given),
        ),
        ("elastic-ip", lambda **given: ec2.allocate_address(Domain="vpc", **given)),
    ):
        make(TagSpecifications=tags.specification([kind], marks))
    assert set(found(account, tmp_path / "other")) == {"volume", "address"}
    done = collected(tmp_path / "other")
    assert len([text for text in done.removed if text.startswith(("volume", "address"))]) == 2
    assert "volume" not in found(account, tmp_path / "other")


def test_what_only_looks_like_ours_is_never_touched(
    account: Account, tmp_path: Path, ec2: Any, cloud: Cloud
) -> None:
    """Named like ours, tagged with everything but cloister's own keys, and old."""
    name = f"cloister-{account.name}"
    alike = [{"Key": "Name", "Value": name}, {"Key": "cluster", "Value": account.name}]

    def marked(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": alike}]

    key = make_key(tmp_path / "key")
    public = Path(f"{key}.pub").read_bytes()
    ec2.import_key_pair(
        KeyName=name, PublicKeyMaterial=public, TagSpecifications=marked("key-pair")
    )
    group = ec2.create_security_group(
        GroupName=name, Description="x", TagSpecifications=marked("security-group")
    )["GroupId"]
    ec2.create_placement_group(
        GroupName=name, Strategy="cluster", TagSpecifications=marked("placement-group")
    )
    volume = ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=8, TagSpecifications=marked("volume")
    )["VolumeId"]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=marked("elastic-ip"))
    instance = ec2.run_instances(
        ImageId=UBUNTU,
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        KeyName=name,
        SecurityGroupIds=[group],
        TagSpecifications=marked("instance"),
    )["Instances"][0]["InstanceId"]
    in_state(ec2, instance, "running")
    cloud.advance(100 * HOUR_S)
    before = sorted(cloud.billable())
    try:
        assert found(account, tmp_path / "other") == {}
        collected(tmp_path / "other")
        assert sorted(cloud.billable()) == before
    finally:
        ec2.terminate_instances(InstanceIds=[instance])
        cloud.settle()
        ec2.delete_volume(VolumeId=volume)
        ec2.release_address(AllocationId=address["AllocationId"])
        ec2.delete_placement_group(GroupName=name)
        ec2.delete_key_pair(KeyName=name)
        ec2.delete_security_group(GroupId=group)


def test_only_in_a_region_nothing_goes_of_a_cluster_whose_claim_elsewhere_lasts(
    account: Account, tmp_path: Path
) -> None:
    account.launch(roles={"workers": {"regions": {"us-east-1": 1, "eu-west-1": 1}}})
    account.retag({tags.EXPIRES: "1700000000"}, region="eu-west-1")
    done = collect_garbage(state=tmp_path / "other", regions=["eu-west-1"])
    assert [one for one in done.things if one.thing.cluster == account.name] == []
    assert len(account.living()) == 2


def test_one_protected_instance_keeps_no_other_one(
    account: Account, tmp_path: Path, ec2: Any
) -> None:
    cluster = account.launch()
    with Links(marks=cluster.marks, pin=lambda node, key: None) as links:
        links.run(cluster.nodes, "shutdown -c").raise_first()
    over(account)
    protected = account.living()[0]["id"]
    ec2.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": True})
    done = collect_garbage(state=tmp_path / "other")
    assert [one["id"] for one in account.living()] == [protected]
    assert any(protected in text for text in done.left)
    ec2.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": False})
    collected(tmp_path / "other")
    assert account.billable() == []


def test_a_volume_that_its_instance_leaves_goes_in_the_same_sweep(
    account: Account, tmp_path: Path, ec2: Any
) -> None:
    cluster = account.launch()
    with Links(marks=cluster.marks, pin=lambda node, key: None) as links:
        links.run(cluster.nodes, "shutdown -c").raise_first()
    instance = account.living()[0]
    marks = tags.Identity(
        name=account.name,
        uid=cluster.uid,
        expires=account.expires(),
        home="us-east-1",
    ).tags()
    volume = ec2.create_volume(
        AvailabilityZone=instance["zone"],
        Size=8,
        TagSpecifications=tags.specification(["volume"], marks),
    )["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=instance["id"], Device="/dev/sdf")
    over(account)
    collected(tmp_path / "other")
    assert account.billable() == []
    assert not [line for line in account.cloud.billable() if volume in line]


def test_a_region_that_is_denied_is_told_and_passed_over(account: Account, tmp_path: Path) -> None:
    account.launch()
    over(account)
    account.cloud.set(
        refuse=[{"action": "DescribeInstances", "nth": 1, "code": "UnauthorizedOperation"}]
    )
    try:
        seen = find_garbage(state=tmp_path / "other")
    finally:
        account.cloud.set(refuse=[])
    assert len(seen.unseen) == 1
    collected(tmp_path / "other")
    assert account.billable() == []
