"""Service Quotas: how many vCPUs may run."""

from __future__ import annotations

from typing import Any

from cloud.refusals import Refusal
from cloud.resources import Region
from cloud.world import ACCOUNT, World

UNLIMITED_SHOWN = 1920
_NAMES = {
    "L-1216C47A": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    "L-34B43A08": "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
}


def get_service_quota(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["ServiceCode"] != "ec2" or asked["QuotaCode"] not in _NAMES:
        raise Refusal(
            "NoSuchResourceException",
            "The request failed because the specified service quota does not exist.",
        )
    return {"Quota": _shown(world, region, asked["QuotaCode"])}


def list_service_quotas(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["ServiceCode"] != "ec2":
        return {"Quotas": []}
    return {"Quotas": [_shown(world, region, code) for code in _NAMES]}


def _shown(world: World, region: Region, code: str) -> dict[str, Any]:
    limit = world.settings.vcpu_limit if code == "L-1216C47A" else None
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{region.name}:{ACCOUNT}:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": _NAMES[code],
        "Value": float(UNLIMITED_SHOWN if limit is None else limit),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
