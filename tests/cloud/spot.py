"""Spot requests and the history of spot prices."""

from __future__ import annotations

from typing import Any

from cloud.filters import filtered, page
from cloud.machine_types import offered
from cloud.prices import ON_DEMAND_PER_HOUR, instance_per_hour
from cloud.refusals import Refusal
from cloud.resources import Region, SpotRequest
from cloud.tags import listed
from cloud.world import World

PRODUCT = "Linux/UNIX"


def describe_spot_price_history(
    world: World, region: Region, asked: dict[str, Any]
) -> dict[str, Any]:
    """One price per type and zone: the one that holds now."""
    prices = [
        _price(world, region, zone.name, zone.id, name)
        for name in asked.get("InstanceTypes") or sorted(ON_DEMAND_PER_HOUR)
        for zone in world.network.zones(region.name)
        if zone.name in offered(region.name, name)
        and asked.get("AvailabilityZone", zone.name) == zone.name
    ]
    if PRODUCT not in asked.get("ProductDescriptions", [PRODUCT]):
        prices = []
    attributes = {
        "availability-zone": lambda price: price["AvailabilityZone"],
        "instance-type": lambda price: price["InstanceType"],
        "product-description": lambda price: price["ProductDescription"],
    }
    found = filtered(prices, asked.get("Filters", []), attributes, lambda _: {})
    shown, token = page(found, asked, size=world.settings.page_size)
    return {"SpotPriceHistory": shown, "NextToken": token or ""}


def describe_spot_requests(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    ids = asked.get("SpotInstanceRequestIds", [])
    requests = (
        [_find(world, region, one) for one in ids] if ids else world.seen(region.spot_requests)
    )
    attributes = {
        "spot-instance-request-id": lambda request: request.id,
        "state": lambda request: request.state,
        "instance-id": lambda request: request.instance,
        "status-code": lambda request: request.code,
    }
    found = filtered(requests, asked.get("Filters", []), attributes, lambda one: one.tags)
    shown, token = page(found, asked, size=world.settings.page_size, ids=ids)
    return {
        "SpotInstanceRequests": [_shown(world, one) for one in shown],
        "NextToken": token,
    }


def cancel_spot_requests(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    """The instances go on."""
    requests = [_find(world, region, one) for one in asked["SpotInstanceRequestIds"]]
    for request in requests:
        if request.state == "active":
            request.state, request.code = "cancelled", "request-canceled-and-instance-running"
    return {
        "CancelledSpotInstanceRequests": [
            {"SpotInstanceRequestId": one.id, "State": one.state} for one in requests
        ]
    }


def _price(world: World, region: Region, zone: str, zone_id: str, name: str) -> dict[str, Any]:
    return {
        "AvailabilityZone": zone,
        "AvailabilityZoneId": zone_id,
        "InstanceType": name,
        "ProductDescription": PRODUCT,
        "SpotPrice": f"{instance_per_hour(name, region.name, 'spot'):.6f}",
        "Timestamp": world.clock.shown(world.clock.now()),
    }


def _find(world: World, region: Region, request_id: str) -> SpotRequest:
    return world.find(
        region.spot_requests,
        request_id,
        lambda key: Refusal(
            "InvalidSpotInstanceRequestID.NotFound",
            f"The spot instance request ID '{key}' does not exist",
        ),
    )


def _shown(world: World, request: SpotRequest) -> dict[str, Any]:
    return {
        "SpotInstanceRequestId": request.id,
        "InstanceId": request.instance,
        "State": request.state,
        "Status": {"Code": request.code},
        "Type": "one-time",
        "LaunchSpecification": {"InstanceType": request.type},
        "LaunchedAvailabilityZone": request.zone,
        "ProductDescription": PRODUCT,
        "InstanceInterruptionBehavior": "terminate",
        "CreateTime": world.clock.shown(request.created),
        "Tags": listed(request.tags),
    }
