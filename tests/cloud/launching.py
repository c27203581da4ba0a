"""RunInstances."""

from __future__ import annotations

import secrets
from typing import Any

from cloud import idempotency, timeline
from cloud.capacity import check_vcpus, chosen_zone
from cloud.describing import instance_shown, reservation_shown
from cloud.launch_request import Request, checked, zone_asked
from cloud.network import Zone
from cloud.refusals import dry_run
from cloud.resources import Instance, Region, SpotRequest, new_id
from cloud.volumes import create_with
from cloud.world import World


def run_instances(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    zone = zone_asked(world, region, asked)
    zone_name = zone.name if zone else ""
    if (answered := idempotency.earlier(region, zone_name, asked)) is not None:
        return answered
    request = checked(world, region, asked)
    if asked.get("DryRun"):
        raise dry_run()
    check_vcpus(world, region, request.type, request.market, request.counts[1])
    where, count = chosen_zone(
        world,
        region,
        zone=zone,
        machine_type=request.type,
        market=request.market,
        group=request.group,
        counts=request.counts,
    )
    instances = _launch(world, region, request, where, count, asked.get("ClientToken", ""))
    # Rendered now: a repetition of this call answers with the same, pending and without addresses.
    answer = {
        **reservation_shown(region, instances),
        "Instances": [instance_shown(world, region, one, "pending") for one in instances],
    }
    idempotency.remember(region, zone_name, asked, answer, [one.id for one in instances])
    for instance in instances:
        timeline.begin(world, instance)
    return answer


def _launch(
    world: World, region: Region, request: Request, zone: Zone, count: int, token: str
) -> list[Instance]:
    reservation = new_id("r")
    instances = [
        _instance(world, region, request, zone, index, reservation, token or _own_token())
        for index in range(count)
    ]
    for instance in instances:
        region.instances[instance.id] = instance
        for mapping in request.mappings:
            create_with(world, region, instance, mapping, request.tags["volume"])
        if request.market == "spot":
            _request_spot(world, region, instance, request)
    return instances


def _own_token() -> str:
    """Callers that give none have one made for them, as the SDKs do."""
    return secrets.token_hex(16)


def _instance(
    world: World,
    region: Region,
    request: Request,
    zone: Zone,
    index: int,
    reservation: str,
    token: str,
) -> Instance:
    world.launched += 1
    now = world.clock.now()
    return Instance(
        id=new_id("i"),
        tags=dict(request.tags["instance"]),
        created=now,
        number=world.launched,
        region=region.name,
        reservation=reservation,
        launch_index=index,
        token=token,
        image=request.image.id,
        type=request.type,
        architecture=request.image.architecture,
        zone=zone.name,
        subnet=zone.subnet,
        vpc=world.network.vpc(region.name),
        market=request.market,
        key_name=request.key_name,
        groups=request.groups,
        placement=_placement(request, zone),
        placement_group=request.group.id if request.group else "",
        metadata=request.metadata,
        at_shutdown=request.at_shutdown,
        protected=request.protected,
        address=world.nodes.addresses.take(),
        public=request.public,
        interface=new_id("eni"),
        interface_tags=dict(request.tags["network-interface"]),
        spot_request=new_id("sir") if request.market == "spot" else "",
        user_data=request.user_data,
        kept=request.kept,
        root_device=request.image.root_device,
        volumes={},
        history=[(now.real_s, "pending")],
    )


def _placement(request: Request, zone: Zone) -> dict[str, Any]:
    group = request.group
    return {
        "Tenancy": "default",
        **request.placement,
        "AvailabilityZone": zone.name,
        "AvailabilityZoneId": zone.id,
        "GroupName": group.name if group else "",
        **({"GroupId": group.id} if group else {}),
    }


def _request_spot(world: World, region: Region, instance: Instance, request: Request) -> None:
    region.spot_requests[instance.spot_request] = SpotRequest(
        id=instance.spot_request,
        tags=dict(request.tags["spot-instances-request"]),
        created=world.clock.now(),
        instance=instance.id,
        type=instance.type,
        zone=instance.zone,
        state="active",
        code="fulfilled",
    )
