"""Which API calls are simulated here, which are left to moto, and which nobody simulates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloud import (
    addressing,
    describing,
    ending,
    groups,
    image_calls,
    keys,
    launching,
    parameters,
    placement,
    pricing,
    quotas,
    regions,
    spot,
    tags,
    volumes,
)
from cloud.resources import Region
from cloud.world import World

Handler = Callable[[World, Region, dict[str, Any]], dict[str, Any]]

OURS: dict[tuple[str, str], Handler] = {
    ("ec2", "RunInstances"): launching.run_instances,
    ("ec2", "DescribeInstances"): describing.describe_instances,
    ("ec2", "DescribeInstanceStatus"): describing.describe_instance_status,
    ("ec2", "TerminateInstances"): ending.terminate_instances,
    ("ec2", "StopInstances"): ending.stop_instances,
    ("ec2", "StartInstances"): ending.start_instances,
    ("ec2", "RebootInstances"): ending.reboot_instances,
    ("ec2", "ModifyInstanceAttribute"): ending.modify_instance_attribute,
    ("ec2", "DescribeInstanceAttribute"): ending.describe_instance_attribute,
    ("ec2", "GetConsoleOutput"): ending.get_console_output,
    ("ec2", "CreateTags"): tags.create_tags,
    ("ec2", "DeleteTags"): tags.delete_tags,
    ("ec2", "DescribeTags"): tags.describe_tags,
    ("ec2", "CreateSecurityGroup"): groups.create_security_group,
    ("ec2", "DeleteSecurityGroup"): groups.delete_security_group,
    ("ec2", "DescribeSecurityGroups"): groups.describe_security_groups,
    ("ec2", "DescribeSecurityGroupRules"): groups.describe_rules,
    ("ec2", "AuthorizeSecurityGroupIngress"): groups.authorize_ingress,
    ("ec2", "AuthorizeSecurityGroupEgress"): groups.authorize_egress,
    ("ec2", "RevokeSecurityGroupIngress"): groups.revoke_ingress,
    ("ec2", "RevokeSecurityGroupEgress"): groups.revoke_egress,
    ("ec2", "ImportKeyPair"): keys.import_key_pair,
    ("ec2", "CreateKeyPair"): keys.create_key_pair,
    ("ec2", "DeleteKeyPair"): keys.delete_key_pair,
    ("ec2", "DescribeKeyPairs"): keys.describe_key_pairs,
    ("ec2", "CreatePlacementGroup"): placement.create_placement_group,
    ("ec2", "DescribePlacementGroups"): placement.describe_placement_groups,
    ("ec2", "DeletePlacementGroup"): placement.delete_placement_group,
    ("ec2", "CreateVolume"): volumes.create_volume,
    ("ec2", "DeleteVolume"): volumes.delete_volume,
    ("ec2", "AttachVolume"): volumes.attach_volume,
    ("ec2", "DetachVolume"): volumes.detach_volume,
    ("ec2", "DescribeVolumes"): volumes.describe_volumes,
    ("ec2", "CreateImage"): image_calls.create_image,
    ("ec2", "DescribeImages"): image_calls.describe_images,
    ("ec2", "DeregisterImage"): image_calls.deregister_image,
    ("ec2", "DescribeSnapshots"): image_calls.describe_snapshots,
    ("ec2", "DeleteSnapshot"): image_calls.delete_snapshot,
    ("ec2", "DescribeNetworkInterfaces"): addressing.describe_network_interfaces,
    ("ec2", "DeleteNetworkInterface"): addressing.delete_network_interface,
    ("ec2", "AllocateAddress"): addressing.allocate_address,
    ("ec2", "ReleaseAddress"): addressing.release_address,
    ("ec2", "DescribeAddresses"): addressing.describe_addresses,
    ("ec2", "DescribeSpotPriceHistory"): spot.describe_spot_price_history,
    ("ec2", "DescribeSpotInstanceRequests"): spot.describe_spot_requests,
    ("ec2", "CancelSpotInstanceRequests"): spot.cancel_spot_requests,
    ("ssm", "GetParameter"): parameters.get_parameter,
    ("ssm", "GetParameters"): parameters.get_parameters,
    ("pricing", "GetProducts"): pricing.get_products,
    ("ec2", "DescribeRegions"): regions.describe_regions,
    ("servicequotas", "GetServiceQuota"): quotas.get_service_quota,
    ("servicequotas", "ListServiceQuotas"): quotas.list_service_quotas,
}

# EC2's other calls stay out: moto would answer them about instances and groups of its own.
_MOTO_EC2 = {
    "DescribeAccountAttributes",
    "DescribeAvailabilityZones",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInternetGateways",
    "DescribeLaunchTemplates",
    "DescribeNatGateways",
    "DescribeRouteTables",
    "DescribeSubnets",
    "DescribeVpcs",
}
_MOTO_SERVICES = {
    "budgets",
    "dynamodb",
    "ecr",
    "ecs",
    "events",
    "iam",
    "logs",
    "s3",
    "scheduler",
    "sts",
}


def left_to_moto(service: str, action: str) -> bool:
    return service in _MOTO_SERVICES or (service == "ec2" and action in _MOTO_EC2)
