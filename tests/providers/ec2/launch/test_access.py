"""Who may reach a cluster on the simulated EC2: refreshed, its rules are what a launch would make them now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from cloud.client import Call
from ec2_account import Account

from cloister.cluster.access import Reach, refresh_access, show_access
from cloister.cluster.lifecycle import launch, open_cluster
from cloister.config.spec import ClusterSpec
from cloister.errors import CloisterError, UsageError
from cloister.providers.record import read_record

HOME, OTHER = "192.0.2.7/32", "198.51.100.0/24"
EVERYWHERE = "0.0.0.0/0"
OWN = "the cluster's nodes in this region"
TWO = {"workers": {"regions": {"us-east-1": 1, "eu-west-1": 1}}}


def rules(reach: Reach) -> dict[str, set[tuple[str, str]]]:
    return {one.region: {(rule.ports, rule.source) for rule in one.rules} for one in reach.groups}


def shown(account: Account) -> dict[str, set[tuple[str, str]]]:
    return rules(show_access(account.name, state=account.state))


def refresh(account: Account, **changes: Any) -> Reach:
    return refresh_access(account.name, state=account.state, spec=account.spec(**changes))


def changing(account: Account, before: int) -> list[Call]:
    looking = ("Describe", "Get", "List")
    return [call for call in account.cloud.calls()[before:] if not call.action.startswith(looking)]


def pids(account: Account) -> dict[str, int]:
    return {instance["id"]: instance["pid"] for instance in account.living()}


def test_another_address_may_log_in_and_nothing_else_has_changed(account: Account) -> None:
    account.launch(ec2={"access": [HOME]})
    instances, nodes = pids(account), account.observe().nodes
    before = len(account.cloud.calls())
    exposed = {"access": [OTHER], "expose": [{"port": 80, "to": OTHER}]}
    reach = refresh(account, ec2=exposed)
    [group] = reach.groups
    assert [str(rule) for rule in group.added] == [
        f"tcp 2222 from {OTHER}",
        f"tcp 80 from {OTHER}",
    ]
    assert [str(rule) for rule in group.revoked] == [f"tcp 2222 from {HOME}"]
    wanted = {("tcp 2222", OTHER), ("tcp 80", OTHER), ("everything", OWN)}
    assert rules(reach) == shown(account) == {"us-east-1": wanted}
    assert [call.action for call in changing(account, before)] == [
        "AuthorizeSecurityGroupIngress",
        "RevokeSecurityGroupIngress",
    ]
    assert pids(account) == instances
    assert account.observe().nodes == nodes


def test_a_second_refresh_changes_nothing_also_without_the_configuration(account: Account) -> None:
    account.launch()
    refresh(account, ec2={"access": [OTHER]})
    before = len(account.cloud.calls())
    again = [
        refresh(account, ec2={"access": [OTHER]}),
        refresh_access(account.name, state=account.state),
    ]
    assert changing(account, before) == []
    assert [group.added + group.revoked for reach in again for group in reach.groups] == [(), ()]


def test_a_refresh_records_access_and_nothing_else_of_a_changed_configuration(
    account: Account,
) -> None:
    account.launch()
    refresh(account, roles={"workers": 7}, ec2={"access": [OTHER], "lease": "9h"})
    record = read_record(account.state / "clusters" / account.name)
    assert record is not None
    spec = ClusterSpec.model_validate(record.spec)
    assert spec.ec2.access == [OTHER]
    assert (spec.roles["workers"].count, spec.ec2.lease) == (2, account.spec().ec2.lease)


def test_without_configured_access_this_machines_present_address_is_let_in(
    account: Account,
) -> None:
    account.launch()
    launched = shown(account)
    refresh(account, ec2={"access": [OTHER]})
    assert shown(account) != launched
    refresh(account)
    assert shown(account) == launched


def test_nodes_of_other_regions_stay_let_in_with_a_call_of_each_kind_per_region(
    account: Account,
) -> None:
    account.launch(roles=TWO, ec2={"access": [HOME]})
    launched = shown(account)
    address = {
        node.region: f"{node.address}/32"
        for node in open_cluster(account.name, state=account.state).nodes
    }
    assert ("everything", address["eu-west-1"]) in launched["us-east-1"]
    before = len(account.cloud.calls())
    refresh(account, roles=TWO, ec2={"access": [OTHER]})
    assert sorted((call.region, call.action) for call in changing(account, before)) == [
        (region, f"{verb}SecurityGroupIngress")
        for region in ("eu-west-1", "us-east-1")
        for verb in ("Authorize", "Revoke")
    ]
    assert shown(account) == {
        region: {
            ("tcp 2222", OTHER),
            ("everything", OWN),
            ("everything", address[other]),
        }
        for region, other in (("us-east-1", "eu-west-1"), ("eu-west-1", "us-east-1"))
    }


def test_a_region_that_the_configuration_no_longer_names_is_refreshed_as_well(
    account: Account,
) -> None:
    account.launch(roles=TWO, ec2={"access": [HOME]})
    refresh(account, ec2={"access": [OTHER]})
    assert {("tcp 2222", OTHER) in found for found in shown(account).values()} == {True}
    assert len(shown(account)) == 2


def test_what_somebody_added_by_hand_is_shown_and_goes(account: Account) -> None:
    account.launch(ec2={"access": [HOME]})
    [group] = show_access(account.name, state=account.state).groups
    by_hand = {
        "IpProtocol": "tcp",
        "FromPort": 1,
        "ToPort": 65535,
        "IpRanges": [{"CidrIp": EVERYWHERE, "Description": "a test"}],
    }
    boto3.client("ec2", region_name="us-east-1").authorize_security_group_ingress(
        GroupId=group.group, IpPermissions=[by_hand]
    )
    assert ("tcp 1-65535", EVERYWHERE) in shown(account)["us-east-1"]
    refresh(account, ec2={"access": [HOME]})
    assert shown(account) == {"us-east-1": {("tcp 2222", HOME), ("everything", OWN)}}


@pytest.mark.parametrize("verb", ["Authorize", "Revoke"])
def test_a_lost_reply_changes_nothing_about_the_outcome(account: Account, verb: str) -> None:
    account.launch(ec2={"access": [HOME]})
    account.cloud.set(lose_reply=[f"{verb}SecurityGroupIngress#1"])
    try:
        refresh(account, ec2={"access": [OTHER, "203.0.113.0/24"]})
    finally:
        account.cloud.set(lose_reply=[])
    assert shown(account)["us-east-1"] == {
        ("tcp 2222", OTHER),
        ("tcp 2222", "203.0.113.0/24"),
        ("everything", OWN),
    }


def test_a_rule_that_aws_did_not_show_a_moment_ago_keeps_no_other_one_out(
    account: Account,
) -> None:
    """AWS refuses a whole call for one rule that is there already."""
    account.launch(ec2={"access": [HOME]})
    refusal = {
        "action": "AuthorizeSecurityGroupIngress",
        "nth": 1,
        "code": "InvalidPermission.Duplicate",
        "message": "the specified rule already exists",
    }
    account.cloud.set(refuse=[refusal])
    try:
        refresh(account, ec2={"access": [OTHER, "203.0.113.0/24"]})
    finally:
        account.cloud.set(refuse=[])
    assert {source for ports, source in shown(account)["us-east-1"] if ports == "tcp 2222"} == {
        OTHER,
        "203.0.113.0/24",
    }


def test_from_another_machine_the_configuration_says_who(account: Account, tmp_path: Path) -> None:
    account.launch(ec2={"access": [HOME]})
    other = account.elsewhere(tmp_path / "other")
    refresh(other, ec2={"access": [OTHER]})
    assert ("tcp 2222", OTHER) in shown(account)["us-east-1"]
    assert read_record(other.state / "clusters" / account.name) is None


def test_without_a_cluster_there_is_nothing_to_refresh(account: Account) -> None:
    before = len(account.cloud.calls())
    for function in (refresh_access, show_access):
        with pytest.raises(CloisterError, match="there is no cluster"):
            function(account.name, state=account.state, spec=account.spec())
    assert changing(account, before) == []


def test_a_local_cluster_is_not_on_ec2(account: Account) -> None:
    spec = ClusterSpec.model_validate({"name": account.name, "roles": {"workers": 1}})
    launch(spec, state=account.state)
    for function in (refresh_access, show_access):
        with pytest.raises(UsageError, match="is not on EC2"):
            function(account.name, state=account.state)
