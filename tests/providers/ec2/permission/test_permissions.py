"""The policies in docs/iam: a cluster's whole life on a simulated EC2 that enforces them, and nothing else."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from bakery import Bakery, development_instance
from botocore.exceptions import ClientError
from cloud.client import Cloud
from ec2_account import Account

from cloister.cluster.garbage import collect_garbage
from cloister.cluster.lifecycle import quote
from cloister.cluster.listing import listing
from cloister.cluster.provided import provider_of
from cloister.cluster.rehearsal import rehearse
from cloister.plan.launching import launch_plan
from cloister.providers.ec2 import tags
from cloister.providers.ec2.permission.permissions import CALLS, needed_calls
from cloister.providers.provider import Leased, Swapping

ROOT = Path(__file__).parents[4]
POLICY = json.loads((ROOT / "docs/iam/cloister-policy.json").read_text())
# The most that a managed policy may have, white space not counted.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
CHARACTERS_MAX = 6144
# The simulated cloud has no network interface that outlives its instance.
NOT_RUN = {("ChangeOurs", "ec2:DeleteNetworkInterface")}
NOT_TOUCHED = {("ChangeOurs", "arn:aws:ec2:*:*:network-interface/*")}
SCHEDULE_ROLE = "arn:aws:iam::123456789012:role/cloister-schedule"
TAGS = [{"Key": "cloister:cluster", "Value": "ours"}]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud.start(folder, regions=["us-east-1", "eu-west-1"], policy=POLICY) as cloud:
        yield cloud


def written() -> dict[str, str]:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from write_iam import documents
    finally:
        sys.path.pop(0)
    return documents()


@pytest.mark.parametrize("name", sorted(written()))
def test_the_documents_are_what_the_code_calls(name: str) -> None:
    text = (ROOT / "docs/iam" / name).read_text()
    assert text == written()[name], "run scripts/write_iam.py"


def test_the_policy_can_be_attached() -> None:
    assert len(json.dumps(POLICY, separators=(",", ":"))) < CHARACTERS_MAX


def live(account: Account, tmp_path: Path) -> None:
    """From the first plan to the receipt, with what a user may have configured."""
    spec = account.spec()
    quote(launch_plan(spec, account.observe()), spec, state=account.state)
    rich: dict[str, Any] = {
        "roles": {
            "manager": {"count": 1, "placement": "cluster"},
            "workers": {"regions": {"us-east-1": 1, "eu-west-1": 1}, "market": "spot", "swap": 1},
        },
        "ec2": {"instance_profile": "cloister-node", "schedule_role": SCHEDULE_ROLE},
    }
    account.launch(**rich)
    account.launch(**rich)
    account.cloud.interrupt(account.living()[0]["id"])
    account.launch(**rich)
    rich["ec2"]["access"] = ["192.0.2.7/32"]
    account.launch(**rich)
    later = int(time.time()) + 10 * 3600
    provider = provider_of(account.name, account.state)
    assert isinstance(provider, Leased)
    provider.prolong(account.name, later, lambda text: None)
    provider.mark_told(account.name, ["manager1", "workers1", "workers2"], later)
    listing(tmp_path / "other", provider="ec2")
    found = rehearse(account.spec(**rich), state=account.state)
    assert [one for one in found if one.ok is False] == []
    assert isinstance(provider, Swapping)
    provider.attach_swap(account.name, lambda text: None)
    assert account.destroy().left == ()
    leave_a_volume_and_an_address(account)
    assert collect_garbage(state=account.state).left == ()
    bake_and_prune(account)


def leave_a_volume_and_an_address(account: Account) -> None:
    """Of a cluster that is gone."""
    marks = tags.Identity(
        name=account.name, uid=f"{account.name}.1", expires=1, home="us-east-1", version="0"
    )
    ec2 = boto3.client("ec2", region_name="us-east-1")
    ec2.create_volume(
        AvailabilityZone="us-east-1a",
        Size=1,
        TagSpecifications=tags.specification(["volume"], marks.tags()),
    )
    account.cloud.set(policy=None)
    ec2.allocate_address(TagSpecifications=tags.specification(["elastic-ip"], marks.tags()))
    account.cloud.set(policy=POLICY)


def bake_and_prune(account: Account) -> None:
    """Of an instance that is not cloister's."""
    account.cloud.set(policy=None)
    instance = development_instance(boto3.client("ec2", region_name="us-east-1"))
    account.cloud.set(policy=POLICY)
    bakery = Bakery(account.cloud, account.state, account.name, instance["PublicIpAddress"])
    bakery.bake()
    bakery.prune(0)
    assert bakery.own() == bakery.snapshots() == []


def test_the_policy_permits_a_clusters_life_and_every_part_of_it_is_used(
    account: Account, tmp_path: Path
) -> None:
    live(account, tmp_path)
    # What is tried on nothing may be refused.
    calls = [call for call in account.cloud.calls() if "DryRun" not in call.parameters]
    assert [c for c in calls if "Unauthorized" in c.error or "AccessDenied" in c.error] == []
    granted = [line.split() for call in calls for line in call.granted]
    used = {(sid, permission) for sid, permission, _ in granted}
    touched = {(sid, resource) for sid, _, resource in granted}
    for statement in POLICY["Statement"]:
        sid = statement["Sid"]
        assert {(sid, action) for action in statement["Action"]} - used <= NOT_RUN
        assert {(sid, arn) for arn in statement["Resource"]} - touched <= NOT_TOUCHED


def test_what_is_shown_after_it_was_removed_is_no_refusal(account: Account) -> None:
    """AWS does not say of what is gone that it was cloister's; the policy permits nothing with it."""
    account.launch(roles={"workers": 1})
    account.cloud.set(gone_visible_s=1.0)
    try:
        receipt = account.destroy()
        assert receipt.left == ()
        assert f"key pair cloister-{account.name} (us-east-1)" in receipt.removed
        refused = [call for call in account.cloud.calls() if call.error == "UnauthorizedOperation"]
        assert {"DeleteKeyPair", "DeleteSecurityGroup"} <= {call.action for call in refused}
        assert account.observe().leftovers == ()
    finally:
        account.cloud.set(gone_visible_s=0.0)


def test_a_reply_that_is_lost_with_what_it_was_about_is_no_refusal(account: Account) -> None:
    """What is gone has no tags, so the repeated call is refused under a policy that asks for one."""
    account.launch(roles={"workers": 1})
    account.cloud.set(lose_reply=["DeleteSecurityGroup#1", "DeleteKeyPair#1"])
    try:
        assert account.destroy().left == ()
    finally:
        account.cloud.set(lose_reply=[])


def foreign_instance(ec2: Any, cloud: Cloud) -> str:
    """Somebody else's, launched without a policy and without tags."""
    cloud.set(policy=None)
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    cloud.set(policy=POLICY)
    return str(made["Instances"][0]["InstanceId"])


FOREIGN: dict[str, Callable[[Any, str, str], Any]] = {
    "end an instance": lambda ec2, instance, group: ec2.terminate_instances(InstanceIds=[instance]),
    "delete a group": lambda ec2, instance, group: ec2.delete_security_group(GroupId=group),
    "open a group": lambda ec2, instance, group: ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="192.0.2.1/32"
    ),
    "delete a key pair": lambda ec2, instance, group: ec2.delete_key_pair(KeyName="theirs"),
    "tag an instance as ours": lambda ec2, instance, group: ec2.create_tags(
        Resources=[instance], Tags=TAGS
    ),
    "tag an instance's end": lambda ec2, instance, group: ec2.create_tags(
        Resources=[instance], Tags=[{"Key": "cloister:expires", "Value": "0"}]
    ),
    "stop an instance": lambda ec2, instance, group: ec2.stop_instances(InstanceIds=[instance]),
    "launch without our tag": lambda ec2, instance, group: ec2.run_instances(
        ImageId=ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"],
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
    ),
    "make a group without our tag": lambda ec2, instance, group: ec2.create_security_group(
        GroupName="theirs", Description="d"
    ),
}


@pytest.mark.parametrize("deed", FOREIGN)
def test_the_policy_does_not_permit_to(account: Account, deed: str) -> None:
    ec2 = boto3.client("ec2", region_name="us-east-1")
    instance = foreign_instance(ec2, account.cloud)
    group = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    try:
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            FOREIGN[deed](ec2, instance, group)
    finally:
        account.cloud.set(policy=None)
        ec2.terminate_instances(InstanceIds=[instance])
        account.cloud.set(policy=POLICY)


def test_only_the_end_of_a_lease_may_be_written_on_what_is_ours(account: Account) -> None:
    account.launch(roles={"workers": 1})
    ours = account.living()[0]["id"]
    ec2 = boto3.client("ec2", region_name="us-east-1")
    ec2.create_tags(Resources=[ours], Tags=[{"Key": "cloister:expires", "Value": "1"}])
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2.create_tags(Resources=[ours], Tags=TAGS)


def test_the_role_of_the_schedule_ends_nodes_of_cloister_and_nothing_else(account: Account) -> None:
    account.launch(roles={"workers": 1})
    ours = account.living()[0]["id"]
    ec2 = boto3.client("ec2", region_name="us-east-1")
    theirs = foreign_instance(ec2, account.cloud)
    role = json.loads((ROOT / "docs/iam/schedule-role-policy.json").read_text())
    account.cloud.set(policy=role)
    try:
        for refused in (
            lambda: ec2.terminate_instances(InstanceIds=[theirs]),
            lambda: ec2.terminate_instances(InstanceIds=[ours, theirs]),
            lambda: ec2.delete_key_pair(KeyName=f"cloister-{account.name}"),
            lambda: ec2.describe_instances(),
        ):
            with pytest.raises(ClientError, match="UnauthorizedOperation"):
                refused()
        ec2.terminate_instances(InstanceIds=[ours])
    finally:
        account.cloud.set(policy=None)
        ec2.terminate_instances(InstanceIds=[theirs])
        account.cloud.set(policy=POLICY)


def permissions(account: Account, **changes: Any) -> set[str]:
    return {call.permission for call in needed_calls(account.spec(**changes))}


def test_a_configuration_needs_only_what_is_in_it(account: Account) -> None:
    plain = permissions(account, ec2={"image": "ami-0123456789abcdef0"})
    assert "ec2:RunInstances" in plain
    more: list[tuple[dict[str, Any], set[str]]] = [
        ({"image": "debian-12"}, {"ssm:GetParameter"}),
        ({"market": ["on-demand", "spot"]}, {"ec2:DescribeSpotPriceHistory"}),
        ({"placement": "spread"}, {"ec2:CreatePlacementGroup", "ec2:DeletePlacementGroup"}),
        ({"swap": 4}, {"ec2:CreateVolume", "ec2:AttachVolume", "ec2:ModifyInstanceAttribute"}),
        ({"instance_profile": "cloister-node"}, {"iam:PassRole"}),
    ]
    for changes, expected in more:
        spec = {"image": "ami-0123456789abcdef0", **changes}
        assert permissions(account, ec2=spec) - plain == expected
    assert plain - permissions(
        account, ec2={"image": "ami-0123456789abcdef0", "key_pair": "mine"}
    ) == {
        "ec2:ImportKeyPair",
        "ec2:DeleteKeyPair",
    }


def test_every_call_is_what_aws_knows_by_that_name() -> None:
    # No call at all, but what others make in one's name.
    permissions = {call.permission for call in CALLS} - {"iam:PassRole"}
    session = botocore.session.get_session()
    for service in {permission.partition(":")[0] for permission in permissions}:
        name = {"servicequotas": "service-quotas"}.get(service, service)
        known = session.get_service_model(name).operation_names
        assert {p.partition(":")[2] for p in permissions if p.startswith(f"{service}:")} <= {*known}
