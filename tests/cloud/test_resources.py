"""Groups, keys, placement groups, volumes, images and the network, and what keeps them from going."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloud.client import Cloud
from cloud.conftest import REGIONS, Client
from cloud.using import described, eventually, in_state, launch, refusal

SETTINGS = {"api_only": True}
TAGS = [{"Key": "cluster", "Value": "c"}]
SSH_RULE = {
    "IpProtocol": "tcp",
    "FromPort": 22,
    "ToPort": 22,
    "IpRanges": [{"CidrIp": "127.0.0.1/32", "Description": "caller"}],
}


def tagged(kind: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": TAGS}]


def of_cluster() -> list[dict[str, Any]]:
    return [{"Name": "tag:cluster", "Values": ["c"]}]


def group(ec2: Any, name: str) -> str:
    return str(ec2.create_security_group(GroupName=name, Description=name)["GroupId"])


def test_a_group_has_its_tags_and_rules(ec2: Any) -> None:
    created = ec2.create_security_group(
        GroupName="rules", Description="d", TagSpecifications=tagged("security-group")
    )
    mine = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": created["GroupId"]}]}
    rules = ec2.authorize_security_group_ingress(
        GroupId=created["GroupId"],
        IpPermissions=[SSH_RULE, mine],
        TagSpecifications=tagged("security-group-rule"),
    )["SecurityGroupRules"]
    assert all(one["SecurityGroupRuleId"].startswith("sgr-") for one in rules)
    assert [one["Tags"] for one in rules] == [TAGS, TAGS]
    assert rules[0]["CidrIpv4"] == "127.0.0.1/32" and rules[0]["Description"] == "caller"
    assert rules[1]["ReferencedGroupInfo"]["GroupId"] == created["GroupId"]
    (shown,) = ec2.describe_security_groups(Filters=of_cluster())["SecurityGroups"]
    assert shown["IpPermissions"][0]["IpRanges"] == SSH_RULE["IpRanges"]
    listed = ec2.describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [created["GroupId"]]}]
    )["SecurityGroupRules"]
    assert sorted(one["IsEgress"] for one in listed) == [False, False, True]
    with refusal("InvalidPermission.Duplicate"):
        ec2.authorize_security_group_ingress(GroupId=created["GroupId"], IpPermissions=[SSH_RULE])
    ec2.revoke_security_group_ingress(GroupId=created["GroupId"], IpPermissions=[SSH_RULE])
    with refusal("InvalidPermission.NotFound"):
        ec2.revoke_security_group_ingress(GroupId=created["GroupId"], IpPermissions=[SSH_RULE])


def test_group_names_are_unique_and_rules_are_checked(ec2: Any) -> None:
    name = group(ec2, "unique")
    with refusal("InvalidGroup.Duplicate"):
        group(ec2, "unique")
    wrong = {**SSH_RULE, "IpRanges": [{"CidrIp": "127.0.0.1"}]}
    with refusal("InvalidParameterValue"):
        ec2.authorize_security_group_ingress(GroupId=name, IpPermissions=[wrong])


def test_groups_in_use_cannot_be_deleted(cloud: Cloud, ec2: Any) -> None:
    used, referring = group(ec2, "used"), group(ec2, "referring")
    rule = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": used}]}
    (instance,) = launch(ec2, SecurityGroupIds=[used])
    ec2.authorize_security_group_ingress(GroupId=referring, IpPermissions=[rule])
    with refusal("DependencyViolation"):
        ec2.delete_security_group(GroupId=used)
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    with refusal("DependencyViolation"):
        ec2.delete_security_group(GroupId=used)
    ec2.delete_security_group(GroupId=referring)
    ec2.delete_security_group(GroupId=used)
    with refusal("InvalidGroup.NotFound"):
        ec2.delete_security_group(GroupId=used)


def test_keys(ec2: Any, key: Path) -> None:
    material = Path(f"{key}.pub").read_bytes()
    created = ec2.import_key_pair(
        KeyName="k", PublicKeyMaterial=material, TagSpecifications=tagged("key-pair")
    )
    (shown,) = ec2.describe_key_pairs(Filters=of_cluster(), IncludePublicKey=True)["KeyPairs"]
    assert shown["KeyPairId"] == created["KeyPairId"] and shown["KeyType"] == "ed25519"
    assert shown["PublicKey"].split()[:2] == material.decode().split()[:2]
    with refusal("InvalidKeyPair.Duplicate"):
        ec2.import_key_pair(KeyName="k", PublicKeyMaterial=material)
    with refusal("InvalidKey.Format"):
        ec2.import_key_pair(KeyName="other", PublicKeyMaterial=b"nonsense")
    ec2.delete_key_pair(KeyName="k")
    ec2.delete_key_pair(KeyName="k")
    with refusal("InvalidKeyPair.NotFound"):
        ec2.describe_key_pairs(KeyNames=["k"])


def test_placement_groups(cloud: Cloud, ec2: Any) -> None:
    created = ec2.create_placement_group(
        GroupName="pg", Strategy="cluster", TagSpecifications=tagged("placement-group")
    )["PlacementGroup"]
    (shown,) = ec2.describe_placement_groups(Filters=of_cluster())["PlacementGroups"]
    assert shown == created and shown["State"] == "available"
    with refusal("InvalidPlacementGroup.Duplicate"):
        ec2.create_placement_group(GroupName="pg", Strategy="spread")
    with refusal("InvalidParameterCombination"):
        launch(ec2, Placement={"GroupName": "pg"})
    (instance,) = launch(ec2, InstanceType="c7i.large", Placement={"GroupName": "pg"})
    with refusal("InvalidPlacementGroup.InUse"):
        ec2.delete_placement_group(GroupName="pg")
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    ec2.delete_placement_group(GroupName="pg")
    with refusal("InvalidPlacementGroup.Unknown"):
        ec2.describe_placement_groups(GroupNames=["pg"])


def test_volumes_go_with_their_instance_or_stay(cloud: Cloud, ec2: Any) -> None:
    mappings = [
        {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 5, "DeleteOnTermination": False}},
    ]
    (instance,) = launch(ec2, BlockDeviceMappings=mappings)
    shown = {
        one["DeviceName"]: one["Ebs"]["VolumeId"]
        for one in described(ec2, instance)["BlockDeviceMappings"]
    }
    sizes = {one["VolumeId"]: one["Size"] for one in ec2.describe_volumes()["Volumes"]}
    assert (sizes[shown["/dev/sda1"]], sizes[shown["/dev/sdf"]]) == (20, 5)
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    with refusal("InvalidVolume.NotFound"):
        ec2.describe_volumes(VolumeIds=[shown["/dev/sda1"]])
    (left,) = ec2.describe_volumes(VolumeIds=[shown["/dev/sdf"]])["Volumes"]
    assert left["State"] == "available" and left["Attachments"] == []
    ec2.delete_volume(VolumeId=left["VolumeId"])


def test_a_wrong_device_name_makes_a_second_volume(ec2: Any) -> None:
    mappings = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20}}]
    (instance,) = launch(ec2, BlockDeviceMappings=mappings)
    assert len(described(ec2, instance)["BlockDeviceMappings"]) == 2


def test_volumes_attached_later_stay(cloud: Cloud, ec2: Any) -> None:
    (instance,) = launch(ec2)
    zone = in_state(ec2, instance, "running")["Placement"]["AvailabilityZone"]
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=tagged("volume"))[
        "VolumeId"
    ]
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdg")
    with refusal("VolumeInUse"):
        ec2.delete_volume(VolumeId=volume)
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    (left,) = ec2.describe_volumes(Filters=of_cluster())["Volumes"]
    assert (left["VolumeId"], left["State"]) == (volume, "available")


def test_images_and_their_snapshots(cloud: Cloud, ec2: Any) -> None:
    (source,) = launch(ec2)
    in_state(ec2, source, "running")
    cloud.set(image_s=0.5)
    image = ec2.create_image(
        InstanceId=source, Name="baked", TagSpecifications=[*tagged("image"), *tagged("snapshot")]
    )["ImageId"]
    (shown,) = ec2.describe_images(Owners=["self"], Filters=of_cluster())["Images"]
    assert (shown["ImageId"], shown["State"]) == (image, "pending")
    with refusal("InvalidAMIID.Unavailable"):
        launch(ec2, ImageId=image)
    with refusal("InvalidAMIName.Duplicate"):
        ec2.create_image(InstanceId=source, Name="baked")
    eventually(
        lambda: ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available",
        "the image is available",
    )
    launch(ec2, ImageId=image)
    (snapshot,) = ec2.describe_snapshots(OwnerIds=["self"], Filters=of_cluster())["Snapshots"]
    assert "SnapshotId" not in shown["BlockDeviceMappings"][0]["Ebs"]
    (shown,) = ec2.describe_images(ImageIds=[image])["Images"]
    assert shown["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] == snapshot["SnapshotId"]
    with refusal("InvalidSnapshot.InUse"):
        ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])
    ec2.deregister_image(ImageId=image)
    assert any(snapshot["SnapshotId"] in line for line in cloud.billable())
    ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])


def test_an_image_that_fails_says_why_and_leaves_its_snapshot(cloud: Cloud, ec2: Any) -> None:
    (source,) = launch(ec2)
    in_state(ec2, source, "running")
    cloud.set(images_fail="no room")
    tags = [*tagged("image"), *tagged("snapshot")]
    image = ec2.create_image(InstanceId=source, Name="spoilt", TagSpecifications=tags)["ImageId"]
    shown = eventually(
        lambda: next(
            (
                one
                for one in ec2.describe_images(ImageIds=[image])["Images"]
                if one["State"] == "failed"
            ),
            None,
        ),
        "the image has failed",
    )
    assert "no room" in shown["StateReason"]["Message"]
    (snapshot,) = ec2.describe_snapshots(OwnerIds=["self"], Filters=of_cluster())["Snapshots"]
    assert snapshot["State"] == "error"
    ec2.deregister_image(ImageId=image)
    ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])


def test_elastic_addresses_are_somebodys_until_released(cloud: Cloud, ec2: Any) -> None:
    address = ec2.allocate_address(TagSpecifications=tagged("elastic-ip"))["AllocationId"]
    assert ec2.describe_addresses(Filters=of_cluster())["Addresses"][0]["AllocationId"] == address
    assert any(address in line for line in cloud.billable())
    ec2.release_address(AllocationId=address)
    assert not any(address in line for line in cloud.billable())


def test_each_region_has_a_network_of_its_own(client: Client) -> None:
    vpcs = [client("ec2", region).describe_vpcs()["Vpcs"] for region in REGIONS]
    assert len({one[0]["CidrBlock"] for one in vpcs}) == len(REGIONS)
    assert all(one[0]["IsDefault"] for one in vpcs)


def test_subnets_belong_to_zones(ec2: Any) -> None:
    subnet = ec2.describe_subnets()["Subnets"][1]
    (instance,) = launch(ec2, SubnetId=subnet["SubnetId"])
    shown = described(ec2, instance)
    assert shown["SubnetId"] == subnet["SubnetId"] and shown["VpcId"] == subnet["VpcId"]
    assert shown["Placement"]["AvailabilityZone"] == subnet["AvailabilityZone"]
    offers = ec2.describe_instance_type_offerings(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": ["t3.micro"]}],
    )["InstanceTypeOfferings"]
    assert subnet["AvailabilityZone"] in {one["Location"] for one in offers}
    types = ec2.describe_instance_types(InstanceTypes=["c7g.large"])["InstanceTypes"]
    assert types[0]["ProcessorInfo"]["SupportedArchitectures"] == ["arm64"]


@pytest.mark.parametrize(
    "call", ["create_launch_template", "create_vpc", "run_scheduled_instances", "create_fleet"]
)
def test_what_nobody_simulates_is_loud(ec2: Any, call: str) -> None:
    parameters: dict[str, dict[str, Any]] = {
        "create_launch_template": {"LaunchTemplateName": "tpl", "LaunchTemplateData": {}},
        "create_vpc": {"CidrBlock": "10.0.0.0/16"},
        "run_scheduled_instances": {
            "LaunchSpecification": {"ImageId": "ami-1"},
            "ScheduledInstanceId": "s",
        },
        "create_fleet": {
            "LaunchTemplateConfigs": [],
            "TargetCapacitySpecification": {"TotalTargetCapacity": 1},
        },
    }
    with refusal("NotSimulated") as refused:
        getattr(ec2, call)(**parameters[call])
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
