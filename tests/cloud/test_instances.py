"""Instances after their launch: describing, filtering, paging, stopping, ending, forgetting."""

from __future__ import annotations

import datetime
import socket
from typing import Any

import pytest

from cloud.client import Cloud
from cloud.using import described, eventually, in_state, launch, refusal, run

SETTINGS = {"api_only": True}


def found(ec2: Any, **filters: str) -> set[str]:
    wanted = [
        {"Name": name.replace("__", ":").replace("_", "-"), "Values": [value]}
        for name, value in filters.items()
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=wanted)
    return {
        instance["InstanceId"]
        for page in pages
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    }


def test_filters(cloud: Cloud, ec2: Any, region: str) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "mark", "Value": "filters [1]"}]}]
    reply = run(ec2, ClientToken="filters", TagSpecifications=tags)
    instance = reply["Instances"][0]["InstanceId"]
    in_state(ec2, instance, "running")
    address = reply["Instances"][0]["PrivateIpAddress"]
    for given in (
        {"client_token": "filters"},
        {"tag__mark": "filters [1]"},
        {"tag__mark": "filt*"},
        {"tag_key": "mark"},
        {"instance_id": instance},
        {"private_ip_address": address},
        {"ip_address": address},
    ):
        assert found(ec2, **given) == {instance}, given
    zone = reply["Instances"][0]["Placement"]["AvailabilityZone"]
    assert instance in found(ec2, availability_zone=zone, instance_state_name="running")
    assert not found(ec2, tag__mark="other")
    with refusal("InvalidParameterValue"):
        found(ec2, nonsense="x")


def test_pages_hold_instances_and_split_reservations(cloud: Cloud, ec2: Any) -> None:
    cloud.set(page_size=2)
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "paged", "Value": "yes"}]}]
    ids = set(launch(ec2, 5, TagSpecifications=tags))
    wanted = [{"Name": "tag-key", "Values": ["paged"]}]
    first = ec2.describe_instances(Filters=wanted)
    assert len(first["Reservations"][0]["Instances"]) == 2 and first["NextToken"]
    assert found(ec2, tag_key="paged") == ids
    with refusal("InvalidParameterCombination"):
        ec2.describe_instances(InstanceIds=list(ids), MaxResults=5)


def test_unknown_ids_are_refused_and_nothing_is_terminated(cloud: Cloud, ec2: Any) -> None:
    (instance,) = launch(ec2)
    for call in (ec2.describe_instances, ec2.terminate_instances):
        with refusal("InvalidInstanceID.NotFound"):
            call(InstanceIds=[instance, "i-00000000000000000"])
    with refusal("InvalidInstanceID.Malformed"):
        ec2.describe_instances(InstanceIds=["x-1"])
    in_state(ec2, instance, "running")


def test_protected_instances_are_not_terminated(ec2: Any) -> None:
    ids = [*launch(ec2), *launch(ec2, DisableApiTermination=True)]
    with refusal("OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=ids)
    ec2.modify_instance_attribute(InstanceId=ids[1], DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=ids)
    again = ec2.terminate_instances(InstanceIds=ids)
    assert {one["CurrentState"]["Name"] for one in again["TerminatingInstances"]} <= {
        "shutting-down",
        "terminated",
    }


def test_stopping_and_starting(ec2: Any) -> None:
    (instance,) = launch(ec2)
    in_state(ec2, instance, "running")
    ec2.stop_instances(InstanceIds=[instance])
    assert "PublicIpAddress" not in in_state(ec2, instance, "stopped")
    started = ec2.start_instances(InstanceIds=[instance])["StartingInstances"][0]
    assert started["CurrentState"]["Name"] == "pending"
    assert in_state(ec2, instance, "running")["PublicIpAddress"]
    (spot,) = launch(ec2, InstanceMarketOptions={"MarketType": "spot"})
    with refusal("UnsupportedOperation"):
        ec2.stop_instances(InstanceIds=[spot])


def test_what_is_new_is_not_known_at_first(cloud: Cloud, ec2: Any) -> None:
    cloud.set(visible_after_s=1.5)
    group = ec2.create_security_group(GroupName="late", Description="late")["GroupId"]
    with refusal("InvalidGroup.NotFound"):
        ec2.describe_security_groups(GroupIds=[group])
    with refusal("InvalidGroup.NotFound"):
        launch(ec2, SecurityGroupIds=[group])
    (instance,) = launch(ec2, ClientToken="late")
    with refusal("InvalidInstanceID.NotFound"):
        described(ec2, instance)
    with refusal("InvalidInstanceID.NotFound"):
        ec2.terminate_instances(InstanceIds=[instance])
    assert not found(ec2, client_token="late")
    assert launch(ec2, ClientToken="late") == [instance]
    eventually(lambda: found(ec2, client_token="late") or None, "the instance becomes visible")
    eventually(
        lambda: (
            ec2.describe_security_groups(Filters=[{"Name": "group-id", "Values": [group]}])[
                "SecurityGroups"
            ]
            or None
        ),
        "the group becomes visible",
    )


def test_describes_lag_behind(cloud: Cloud, ec2: Any) -> None:
    (instance,) = launch(ec2)
    in_state(ec2, instance, "running")
    cloud.set(stale_s=1.0)
    in_state(ec2, instance, "running")
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    assert cloud.instances()[-1]["state"] == "terminated"
    assert described(ec2, instance)["State"]["Name"] == "running"
    in_state(ec2, instance, "terminated")


def test_launches_that_fail_or_never_boot(cloud: Cloud, ec2: Any) -> None:
    launched = len(cloud.instances())
    cloud.set(never_boots=[launched + 1], fails_at_launch=[launched + 2])
    never, fails, fine = launch(ec2, 3)
    in_state(ec2, fine, "running")
    gone = in_state(ec2, fails, "terminated")
    assert gone["StateReason"]["Code"] == "Server.InternalError"
    assert described(ec2, never)["State"]["Name"] == "pending"


def test_delays_are_dealt_out_by_instance(cloud: Cloud, ec2: Any) -> None:
    next_is_odd = len(cloud.instances()) % 2 == 0
    cloud.set(boot_s=[0.0, 60.0] if next_is_odd else [60.0, 0.0])
    early, late = launch(ec2, 2)
    in_state(ec2, early, "running")
    assert described(ec2, late)["State"]["Name"] == "pending"


def test_terminated_instances_are_forgotten_after_an_hour(cloud: Cloud, ec2: Any) -> None:
    (instance,) = launch(ec2)
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    cloud.advance(3500)
    assert described(ec2, instance)["State"]["Name"] == "terminated"
    cloud.advance(200)
    with refusal("InvalidInstanceID.NotFound"):
        described(ec2, instance)


def test_skipped_time_makes_instances_older(cloud: Cloud, ec2: Any) -> None:
    (instance,) = launch(ec2)
    cloud.advance(7200)
    age = datetime.datetime.now(datetime.UTC) - described(ec2, instance)["LaunchTime"]
    assert age.total_seconds() == pytest.approx(7200, abs=60)


def test_an_interruption_takes_a_spot_instance(cloud: Cloud, ec2: Any) -> None:
    (instance,) = launch(ec2, InstanceMarketOptions={"MarketType": "spot"})
    request = in_state(ec2, instance, "running")["SpotInstanceRequestId"]
    cloud.interrupt(instance)
    gone = described(ec2, instance)
    assert gone["State"]["Name"] == "terminated"
    assert gone["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    (shown,) = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])[
        "SpotInstanceRequests"
    ]
    assert shown["State"] == "closed"


def test_status_checks_pass_after_a_minute(cloud: Cloud, ec2: Any) -> None:
    (instance,) = launch(ec2)
    in_state(ec2, instance, "running")

    def check() -> str:
        (status,) = ec2.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"]
        return str(status["InstanceStatus"]["Status"])

    assert check() == "initializing"
    cloud.advance(61)
    assert check() == "ok"


def test_tags_change_and_are_found(ec2: Any) -> None:
    (instance,) = launch(ec2)
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "1"}])
    assert found(ec2, tag__a="1") == {instance}
    named = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [instance]}])["Tags"]
    assert [(one["Key"], one["ResourceType"]) for one in named] == [("a", "instance")]
    ec2.delete_tags(Resources=[instance], Tags=[{"Key": "a"}])
    assert not found(ec2, tag__a="1")
    with refusal("InvalidInstanceID.NotFound"):
        ec2.create_tags(Resources=["i-00000000000000000"], Tags=[{"Key": "a", "Value": "1"}])


def test_a_thousand_instances_are_launched_described_and_ended(cloud: Cloud, ec2: Any) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "many", "Value": "yes"}]}]
    ids = launch(ec2, 1000, TagSpecifications=tags)
    assert found(ec2, tag_key="many") == set(ids)
    ec2.terminate_instances(InstanceIds=ids)
    cloud.settle()
    assert found(ec2, tag_key="many", instance_state_name="terminated") == set(ids)


def test_a_call_takes_200_values_in_its_filters(ec2: Any) -> None:
    tag = {"Name": "tag:a", "Values": ["1"]}
    ids = {"Name": "instance-id", "Values": [f"i-{number:017x}" for number in range(199)]}
    assert ec2.describe_instances(Filters=[tag, ids])["Reservations"] == []
    ids["Values"].append("i-1")
    with refusal("FilterLimitExceeded"):
        ec2.describe_instances(Filters=[tag, ids])


def test_without_an_sshd_a_running_instance_greets_as_one(cloud: Cloud, ec2: Any) -> None:
    cloud.set(ssh_after_s=0.3)
    (instance,) = launch(ec2)
    address = in_state(ec2, instance, "running")["PublicIpAddress"]

    def greeting() -> bytes | None:
        try:
            with socket.create_connection((address, 2222), timeout=5) as connection:
                return connection.recv(100)
        except ConnectionRefusedError:
            return None

    assert greeting() is None
    assert eventually(greeting, "it greets").startswith(b"SSH-2.0-")
    truth = next(one for one in cloud.instances() if one["id"] == instance)
    assert 0.3 <= truth["opened_s"] - truth["launched_s"] < 10
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    assert greeting() is None
