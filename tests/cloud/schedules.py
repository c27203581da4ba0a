"""EventBridge Scheduler: moto keeps the schedules, and here those that end instances are carried out."""

from __future__ import annotations

import datetime
import functools
import json
import re
import zoneinfo
from typing import Any

from moto.backends import get_backend

from cloud import timeline
from cloud.world import ACCOUNT, World

TERMINATE = "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")


def plan(world: World, region: str) -> None:
    """Look at the region's schedules when the next of them is due; called after each change."""
    for schedule in all_schedules(region):
        due_s = _due_s(world, schedule)
        if due_s is not None and schedule.state == "ENABLED":
            world.agenda.at(due_s, functools.partial(_fire, world, region, schedule))


def all_schedules(region: str) -> list[Any]:
    groups = get_backend("scheduler")[ACCOUNT][region].schedule_groups
    return [schedule for group in groups.values() for schedule in group.schedules.values()]


def _due_s(world: World, schedule: Any) -> float | None:
    """In simulated time. The caller's own clock did not know what tests had skipped when it was made."""
    found = _AT.fullmatch(schedule.schedule_expression)
    if found is None:
        return None
    zone = zoneinfo.ZoneInfo(schedule.schedule_expression_timezone)
    wall_s = datetime.datetime.fromisoformat(found[1]).replace(tzinfo=zone).timestamp()
    key = (schedule.arn, schedule.schedule_expression)
    return wall_s + world.skipped.setdefault(key, world.clock.now().advanced_s)


def _fire(world: World, region: str, schedule: Any) -> None:
    """It may have been deleted, changed or carried out since it was planned."""
    due_s = _due_s(world, schedule)
    current = schedule in all_schedules(region) and schedule.state == "ENABLED"
    if not current or due_s is None or due_s > world.clock.simulated_s:
        return
    if schedule.target["Arn"] == TERMINATE:
        ids = json.loads(schedule.target.get("Input") or "{}").get("InstanceIds", [])
        there = world.region(region).instances
        ending = [
            there[one]
            for one in ids
            if one in there and there[one].state in ("pending", "running", "stopping", "stopped")
        ]
        if ending:
            timeline.end(world, ending, stop=False, reason=timeline.BY_USER, at_s=due_s)
    if schedule.action_after_completion == "DELETE":
        groups = get_backend("scheduler")[ACCOUNT][region].schedule_groups
        groups[schedule.group_name].schedules.pop(schedule.name, None)
    else:
        schedule.state = "DISABLED"
