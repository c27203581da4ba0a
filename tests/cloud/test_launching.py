"""RunInstances: what it answers, what it keeps, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from cloud.client import Cloud
from cloud.conftest import Client
from cloud.using import described, in_state, launch, refusal, run

SETTINGS = {"api_only": True}


def tags(resource_type: str) -> dict[str, Any]:
    return {"ResourceType": resource_type, "Tags": [{"Key": "of", "Value": resource_type}]}


def test_the_reply_is_pending_and_without_a_public_address(cloud: Cloud, ec2: Any) -> None:
    instance = run(ec2)["Instances"][0]
    assert instance["State"]["Name"] == "pending"
    assert "PublicIpAddress" not in instance and not instance["PublicDnsName"]
    assert instance["PrivateIpAddress"].startswith("127.77.")
    running = in_state(ec2, instance["InstanceId"], "running")
    assert running["PublicIpAddress"] == running["PublicDnsName"] == instance["PrivateIpAddress"]


def test_pending_and_shutting_down_are_seen(cloud: Cloud, ec2: Any) -> None:
    cloud.set(boot_s=1.0, shutdown_s=1.0)
    (instance,) = launch(ec2)
    assert described(ec2, instance)["State"]["Name"] == "pending"
    in_state(ec2, instance, "running")
    ec2.terminate_instances(InstanceIds=[instance])
    assert described(ec2, instance)["State"]["Name"] == "shutting-down"
    gone = in_state(ec2, instance, "terminated")
    assert "PublicIpAddress" not in gone
    assert gone["StateReason"]["Code"] == "Client.UserInitiatedShutdown"


def test_instances_of_a_launch_are_numbered(ec2: Any) -> None:
    instances = run(ec2, MinCount=3, MaxCount=3)["Instances"]
    assert [one["AmiLaunchIndex"] for one in instances] == [0, 1, 2]
    assert len({one["PrivateIpAddress"] for one in instances}) == 3


def test_tags_reach_all_that_a_launch_creates(ec2: Any) -> None:
    kinds = ("instance", "volume", "network-interface", "spot-instances-request")
    (instance,) = launch(
        ec2,
        TagSpecifications=[tags(kind) for kind in kinds],
        InstanceMarketOptions={"MarketType": "spot"},
    )
    shown = described(ec2, instance)
    volume = ec2.describe_volumes(VolumeIds=[shown["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])[
        "Volumes"
    ][0]
    interface = ec2.describe_network_interfaces(
        NetworkInterfaceIds=[shown["NetworkInterfaces"][0]["NetworkInterfaceId"]]
    )["NetworkInterfaces"][0]
    request = ec2.describe_spot_instance_requests(
        SpotInstanceRequestIds=[shown["SpotInstanceRequestId"]]
    )["SpotInstanceRequests"][0]
    assert [one["Value"] for one in shown["Tags"]] == ["instance"]
    assert [one["Value"] for one in volume["Tags"]] == ["volume"]
    assert [one["Value"] for one in interface["TagSet"]] == ["network-interface"]
    assert [one["Value"] for one in request["Tags"]] == ["spot-instances-request"]
    assert shown["InstanceLifecycle"] == "spot" and request["Type"] == "one-time"


def test_what_was_asked_for_is_kept_and_shown(ec2: Any) -> None:
    group = ec2.create_placement_group(GroupName="near", Strategy="spread")["PlacementGroup"]
    zone = ec2.describe_availability_zones()["AvailabilityZones"][1]
    (instance,) = launch(
        ec2,
        ClientToken="kept",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        InstanceInitiatedShutdownBehavior="terminate",
        Placement={"AvailabilityZone": zone["ZoneName"], "GroupName": "near"},
    )
    shown = described(ec2, instance)
    assert shown["MetadataOptions"]["HttpTokens"] == "required"
    assert shown["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert shown["Placement"]["AvailabilityZone"] == zone["ZoneName"]
    assert shown["Placement"]["GroupName"] == "near"
    assert shown["Placement"]["GroupId"] == group["GroupId"]
    assert shown["ClientToken"] == "kept"
    attribute = ec2.describe_instance_attribute(
        InstanceId=instance, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert attribute["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


def test_the_same_token_launches_once(cloud: Cloud, ec2: Any) -> None:
    first = run(ec2, ClientToken="once")
    in_state(ec2, first["Instances"][0]["InstanceId"], "running")
    second = run(ec2, ClientToken="once")
    assert second["Instances"] == first["Instances"]
    assert second["ReservationId"] == first["ReservationId"]


def test_a_token_with_other_parameters_is_refused(ec2: Any) -> None:
    run(ec2, ClientToken="mismatch")
    with refusal("IdempotentParameterMismatch"):
        run(ec2, ClientToken="mismatch", InstanceType="t3.medium")


def test_a_token_of_terminated_instances_is_refused(cloud: Cloud, ec2: Any) -> None:
    (instance,) = launch(ec2, ClientToken="gone")
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    with refusal("IdempotentInstanceTerminated"):
        run(ec2, ClientToken="gone")


def test_a_token_in_another_zone_launches_again(ec2: Any) -> None:
    zones = [one["ZoneName"] for one in ec2.describe_availability_zones()["AvailabilityZones"]]
    ids = {
        launch(ec2, ClientToken="zonal", Placement={"AvailabilityZone": zone})[0]
        for zone in [zones[0], zones[1], zones[0]]
    }
    assert len(ids) == 2


def test_a_dry_run_launches_nothing(cloud: Cloud, ec2: Any) -> None:
    before = len(cloud.instances())
    with refusal("DryRunOperation"):
        run(ec2, DryRun=True)
    with refusal("InvalidKeyPair.NotFound"):
        run(ec2, DryRun=True, KeyName="nobody")
    assert len(cloud.instances()) == before


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "debian"}, "InvalidAMIID.Malformed"),
        ({"InstanceType": "t3.mikro"}, "InvalidParameterValue"),
        ({"InstanceType": "c7g.large"}, "InvalidParameterValue"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"SecurityGroupIds": ["sg-00000000000000000"]}, "InvalidGroup.NotFound"),
        ({"SubnetId": "subnet-00000000"}, "InvalidSubnetID.NotFound"),
        ({"Placement": {"AvailabilityZone": "mars-1a"}}, "InvalidParameterValue"),
        ({"Placement": {"GroupName": "none"}}, "InvalidPlacementGroup.Unknown"),
        ({"MinCount": 2, "MaxCount": 1}, "InvalidParameterValue"),
        ({"UserData": "x" * 20000}, "InvalidParameterValue"),
        ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
        ({"LaunchTemplate": {"LaunchTemplateName": "x"}}, "NotSimulated"),
        (
            {"TagSpecifications": [{"ResourceType": "image", "Tags": [{"Key": "a"}]}]},
            "InvalidParameterValue",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_wrong_launches_are_refused(ec2: Any, wrong: dict[str, Any], code: str) -> None:
    with refusal(code):
        run(ec2, **wrong)


def test_capacity_counts_what_is_there(cloud: Cloud, client: Client) -> None:
    ec2, zone = client("ec2", "ca-central-1"), "ca-central-1a"
    cloud.set(capacity={f"{zone}/t3.micro/*": 3})
    placement = {"AvailabilityZone": zone}
    assert len(launch(ec2, 2, Placement=placement)) == 2
    with refusal("InsufficientInstanceCapacity") as refused:
        launch(ec2, 2, Placement=placement)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert f"({zone})" in str(refused.value)
    assert len(run(ec2, MinCount=1, MaxCount=5, Placement=placement)["Instances"]) == 1
    # Another zone has room, and is found if none is asked for.
    elsewhere = run(ec2)["Instances"][0]
    assert elsewhere["Placement"]["AvailabilityZone"] != zone


def test_the_vcpu_limit_holds_for_on_demand_instances(cloud: Cloud, client: Client) -> None:
    ec2 = client("ec2", "sa-east-1")
    cloud.set(vcpu_limit=4)
    launch(ec2, 2)
    with refusal("VcpuLimitExceeded"):
        launch(ec2)
    launch(ec2, InstanceMarketOptions={"MarketType": "spot"})


def test_images_differ_between_regions_and_owners(client: Client) -> None:
    images = [
        client("ec2", region).describe_images(
            Owners=["099720109477"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}]
        )["Images"]
        for region in ("us-east-1", "eu-west-1")
    ]
    assert not {one["ImageId"] for one in images[0]} & {one["ImageId"] for one in images[1]}
    assert len({one["CreationDate"] for one in images[0]}) == len(images[0]) > 1
    own = client("ec2").describe_images(Owners=["self"])["Images"]
    assert [one["Name"].startswith("cloister-base-") for one in own] == [True]
    named = client("ec2").describe_images(
        Filters=[{"Name": "name", "Values": ["ubuntu/images/*noble*"]}]
    )["Images"]
    assert {one["OwnerId"] for one in named} == {"099720109477", "666666666666"}


def test_images_can_be_chosen(cloud: Cloud, ec2: Any) -> None:
    cloud.set(
        images=[
            {"name": "mine", "owner": "self", "created": "2024-05-06T00:00:00.000Z", "id": "ami-1"},
            {"name": "his", "owner": "210987654321", "created": "2024-05-07T00:00:00.000Z"},
            {"name": "far", "owner": "self", "created": "2024-05-08T00:00:00.000Z", "region": "x"},
        ]
    )
    (own,) = ec2.describe_images(Owners=["self"])["Images"]
    assert (own["ImageId"], own["CreationDate"]) == ("ami-1", "2024-05-06T00:00:00.000Z")
    assert ec2.describe_images(Owners=["210987654321"])["Images"][0]["Name"] == "his"


@pytest.mark.parametrize(
    "name",
    [
        "canonical/ubuntu/server/24.04/stable/current/{debian}/hvm/ebs-gp3/ami-id",
        "debian/release/12/latest/{debian}",
        "ami-amazon-linux-latest/al2023-ami-kernel-default-{machine}",
    ],
)
@pytest.mark.parametrize(("debian", "machine"), [("amd64", "x86_64"), ("arm64", "arm64")])
def test_parameters_name_the_newest_image(
    client: Client, name: str, debian: str, machine: str
) -> None:
    full = "/aws/service/" + name.format(debian=debian, machine=machine)
    value = client("ssm").get_parameter(Name=full)["Parameter"]["Value"]
    both = client("ssm").get_parameters(Names=[full, "/nothing"])
    assert both["Parameters"][0]["Value"] == value and both["InvalidParameters"] == ["/nothing"]
    (image,) = client("ec2").describe_images(ImageIds=[value])["Images"]
    assert image["Architecture"] == machine
    rivals = client("ec2").describe_images(
        Owners=[image["OwnerId"]], Filters=[{"Name": "architecture", "Values": [machine]}]
    )["Images"]
    assert image["CreationDate"] == max(one["CreationDate"] for one in rivals)
