"""The second end of a lease: EventBridge Scheduler terminates the nodes, should they not end by themselves.

One schedule per region, which removes itself when it has been carried out. Its target is a plain API call
with the instances' ids, so one that AWS no longer knows makes it fail for all: each launch writes it anew.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from typing import Any

from cloister.providers.ec2.api import DENIED, Aws, AwsError
from cloister.providers.ec2.observing import Instance, Thing
from cloister.providers.ec2.tags import Identity

KIND = "schedule"
SERVICE = "scheduler"
PREFIX = "cloister-"
_TARGET = "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"
# The nodes' own timers come first: they count whole minutes.
_LATER_S = 180


def schedule_name(identity: Identity) -> str:
    return f"{PREFIX}{identity.uid}"


def put_schedule(
    aws: Aws, region: str, identity: Identity, living: Sequence[Instance], role: str
) -> None:
    """The region's living nodes end soon after the lease, whatever was scheduled before."""
    ids = sorted(instance.id for instance in living if instance.region == region)
    if not ids:
        return
    ends = datetime.datetime.fromtimestamp(identity.expires + _LATER_S, datetime.UTC)
    request: dict[str, Any] = {
        "Name": schedule_name(identity),
        "Description": f"cloister: the end of the lease of cluster {identity.name}",
        "ScheduleExpression": f"at({ends:%Y-%m-%dT%H:%M:%S})",
        "ScheduleExpressionTimezone": "UTC",
        "State": "ENABLED",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {"Arn": _TARGET, "RoleArn": role, "Input": json.dumps({"InstanceIds": ids})},
    }
    try:
        aws.asked(region, "create_schedule", service=SERVICE, **request)
    except AwsError as error:
        if error.code != "ConflictException":
            raise
        aws.asked(region, "update_schedule", service=SERVICE, **request)


def schedules(aws: Aws, name: str, regions: Iterable[str]) -> list[Thing]:
    """Those of the cluster."""
    return [
        Thing(kind=KIND, id=found, region=region, identity=None)
        for region in regions
        # A cluster's name has no dot, so no other cluster's schedule begins like this.
        for found, _ in listed(aws, region, f"{PREFIX}{name}.")
    ]


def listed(aws: Aws, region: str, prefix: str) -> list[tuple[str, float]]:
    """Name and time of creation of each whose name begins so.

    None where this identity may not look: then it has made none either.
    """
    try:
        entries = list(
            aws.pages(region, "list_schedules", "Schedules", service=SERVICE, NamePrefix=prefix)
        )
    except AwsError as error:
        if error.code not in DENIED:
            raise
        return []
    return [(str(entry["Name"]), entry["CreationDate"].timestamp()) for entry in entries]
