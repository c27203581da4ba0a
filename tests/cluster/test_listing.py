"""What `ls` shows: every cluster that can be seen, also if others cannot, with as many calls for many as for one."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from ec2_account import Account

from cloister.cluster.lifecycle import destroy, launch
from cloister.cluster.listing import listing
from cloister.config.spec import ClusterSpec
from cloister.plan.listed import Listed, Listing

ONE = {"workers": 1}
REGIONS = 3
# Instances, and groups, keys, placement groups, volumes and interfaces.
KINDS = 6


@pytest.fixture
def three(account: Account) -> Iterator[list[Account]]:
    """Names of three clusters on one machine, of which none is launched."""
    others = [Account(account.cloud, account.state, f"t{secrets.token_hex(4)}") for _ in range(2)]
    yield [account, *others]
    for other in others:
        other.destroy()


@pytest.fixture
def local(account: Account) -> Iterator[str]:
    """The name of a local cluster beside it."""
    name = f"local-{secrets.token_hex(4)}"
    launch(ClusterSpec.model_validate({"name": name, "roles": ONE}), state=account.state)
    yield name
    destroy(name, state=account.state)


def calls(account: Account) -> Counter[str]:
    before = len(account.cloud.calls())
    assert listing(account.state).unseen == ()
    return Counter(call.action for call in account.cloud.calls()[before:])


def of(account: Account, found: Listing) -> Listed:
    [entry] = [entry for entry in found.clusters if entry.name == account.name]
    return entry


def test_three_clusters_take_as_many_calls_as_one(three: list[Account]) -> None:
    three[0].launch(roles=ONE)
    listing(three[0].state)
    for_one = calls(three[0])
    assert for_one.total() == 1 + REGIONS + KINDS
    assert for_one["DescribeInstances"] == 1
    for account in three[1:]:
        account.launch(roles=ONE)
    assert calls(three[0]) == for_one
    found = listing(three[0].state)
    for account in three:
        entry = of(account, found)
        assert [node.node.name for node in entry.observed.nodes] == ["workers1"]
        # Besides the nodes `observe` asks only for the group, which tells the lease.
        key, group = entry.observed.leftovers
        assert key == f"key pair cloister-{account.name} (us-east-1)"
        seen = account.observe()
        assert entry.observed == dataclasses.replace(seen, leftovers=(key, *seen.leftovers))
        assert seen.leftovers == (group,)
        assert entry.regions == ("us-east-1",)
        assert entry.bill is not None
        assert entry.bill.dollars_per_hour == pytest.approx(0.08925 + 0.005)


def test_expired_credentials_hide_only_what_is_behind_them(account: Account, local: str) -> None:
    account.launch(roles=ONE)
    account.cloud.set(expired=True)
    try:
        found = listing(account.state)
    finally:
        account.cloud.set(expired=False)
    assert [entry.name for entry in found.clusters] == [local]
    [gap] = found.unseen
    assert (gap.name, gap.provider) == (account.name, "ec2")
    assert "RequestExpired" in gap.error
    assert "sign in again" in gap.hint


def test_credentials_that_expire_on_the_way_hide_no_local_cluster(
    account: Account, local: str
) -> None:
    account.launch(roles=ONE)
    account.cloud.set(expires_after_calls=1 + REGIONS)
    try:
        found = listing(account.state)
    finally:
        account.cloud.set(expired=False, expires_after_calls=None)
    assert [entry.name for entry in found.clusters] == [local]
    assert account.name in {gap.name for gap in found.unseen}


def test_without_an_account_that_is_asked_for_the_rest_is_shown(
    account: Account, local: str
) -> None:
    account.cloud.set(expired=True)
    try:
        found = listing(account.state, provider="ec2")
    finally:
        account.cloud.set(expired=False)
    assert [entry.name for entry in found.clusters] == [local]
    assert [(gap.name, gap.provider) for gap in found.unseen] == [("", "ec2")]


def permitted(*regions: str) -> dict[str, object]:
    condition = {"StringEquals": {"aws:RequestedRegion": list(regions)}}
    here = {"Sid": "Here", "Effect": "Allow", "Action": ["*"], "Resource": ["*"]}
    return {"Version": "2012-10-17", "Statement": [{**here, "Condition": condition}]}


def test_regions_that_this_identity_may_not_use_are_named_and_passed_over(
    account: Account, tmp_path: Path
) -> None:
    account.launch(roles={"workers": {"regions": {"us-east-1": 1, "eu-west-1": 1}}})
    account.cloud.set(policy=permitted("us-east-1"))
    try:
        here = listing(account.state)
        elsewhere = listing(tmp_path / "other", provider="ec2")
    finally:
        account.cloud.set(policy=None)
    for found in (here, elsewhere):
        assert [node.node.name for node in of(account, found).observed.nodes] == ["workers1"]
        [gap] = found.unseen
        assert gap.regions == ("eu-west-1", "us-west-2")
        assert (gap.name, gap.provider) == ("", "ec2")
        assert "UnauthorizedOperation" in gap.error


def test_a_cluster_in_a_region_that_is_refused_is_not_taken_for_one_without_nodes(
    account: Account,
) -> None:
    account.launch(roles=ONE)
    account.cloud.set(policy=permitted("us-west-2"))
    try:
        found = listing(account.state)
    finally:
        account.cloud.set(policy=None)
    assert found.clusters == ()
    assert account.name in {gap.name for gap in found.unseen}
    assert any("DescribeRegions" in gap.error for gap in found.unseen)


def test_the_lease_of_a_cluster_is_that_of_the_node_that_ends_first(account: Account) -> None:
    account.launch()
    before = of(account, listing(account.state)).bill
    early, gone = account.living()[:2]
    soon = int(time.time()) + 600
    ec2 = boto3.client("ec2", region_name="us-east-1")
    for instance, end in ((early, soon), (gone, soon - 300)):
        tag = {"Key": "cloister:expires", "Value": str(end)}
        ec2.create_tags(Resources=[instance["id"]], Tags=[tag])
    account.cloud.interrupt(gone["id"])
    account.cloud.settle()
    after = of(account, listing(account.state)).bill
    assert before is not None and after is not None
    assert before.expires > soon
    assert after.expires == soon


def test_regions_are_those_in_which_something_is(account: Account, tmp_path: Path) -> None:
    account.launch(roles={"workers": {"regions": {"us-east-1": 1, "eu-west-1": 1}}})
    for found in (listing(account.state), listing(tmp_path / "other", provider="ec2")):
        assert sorted(of(account, found).regions) == ["eu-west-1", "us-east-1"]


def test_somebody_elses_tag_hides_nothing(account: Account) -> None:
    account.launch(roles=ONE)
    ec2 = boto3.client("ec2", region_name="us-east-1")
    tags = [{"Key": "cloister:cluster", "Value": "No Name"}]
    specification = [{"ResourceType": "volume", "Tags": tags}]
    volume = ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=1, TagSpecifications=specification
    )
    try:
        found = listing(account.state)
    finally:
        ec2.delete_volume(VolumeId=volume["VolumeId"])
    assert of(account, found)
    assert [gap.name for gap in found.unseen] == ["No Name"]


def test_an_unknown_price_is_asked_for_once(account: Account) -> None:
    account.launch(ec2={"machine": "r5.2xlarge"})
    asked = calls(account)
    assert asked["GetProducts"] == 1
    assert of(account, listing(account.state)).bill.dollars is None  # type: ignore[union-attr]
