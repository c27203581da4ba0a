"""Instances on their way, asked about as little as will do: each look at a thousand is a second of work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from cloister.providers.ec2 import tags
from cloister.providers.ec2.api import Aws
from cloister.providers.ec2.observing import Instance, fitting, in_order, instances

# So many are looked at in one call in no time.
_FEW = 100
# AWS takes 200 values in all filters of a call, and some are for the cluster.
_IDS_MAX = 190
_ENDING = ("shutting-down", "terminated", "stopping", "stopped")


class Watch:
    """What is known of a cluster's instances. `uid` is of those that come; others may be there as well.

    wanted: node → its region; instances that are not to be there are of no interest.
    """

    def __init__(
        self, aws: Aws, name: str, uid: str, regions: Iterable[str], wanted: Mapping[str, str]
    ) -> None:
        self._wanted = wanted
        self._aws, self._name, self._uid = aws, name, uid
        self._regions = list(regions)
        self._known: dict[str, Instance] = {}

    def look(self, names: AbstractSet[str]) -> list[Instance]:
        """All that are known, oldest first; up to date are these nodes', and whoever has ended.

        names: nodes that have not arrived yet, as far as is known.
        """
        living = [instance for instance in self._known.values() if not instance.is_gone]
        if len(living) <= _FEW or not names <= {instance.name for instance in living}:
            self._learn(self._regions)
        elif len(names) > len(living) / 2:
            self._learn(self._regions, *self._in("running", *_ENDING))
        else:
            self._look_at_the_rest(names)
        return in_order(self._known.values())

    def _look_at_the_rest(self, names: AbstractSet[str]) -> None:
        """Where most have arrived: those that have not, and then those that have since the last look."""
        shown = self._learn(self._regions, *self._in("pending", *_ENDING))
        arrived = [
            instance
            for instance in self._known.values()
            if instance.name in names and instance.id not in shown and not instance.is_gone
        ]
        if len(arrived) > _IDS_MAX:
            self._learn(self._regions)
        elif arrived:
            regions = {instance.region for instance in arrived}
            self._learn(regions, _filter("instance-id", [instance.id for instance in arrived]))

    def _in(self, *states: str) -> list[dict[str, Any]]:
        return [_filter("instance-state-name", states), _filter(f"tag:{tags.UID}", [self._uid])]

    def _learn(self, regions: Iterable[str], *filters: dict[str, Any]) -> set[str]:
        """The ids of those that such a describe call shows now."""
        found = instances(self._aws, self._name, regions, *filters)
        self._known |= {instance.id: instance for instance in fitting(found, self._wanted)}
        return {instance.id for instance in found}


def _filter(name: str, values: Iterable[str]) -> dict[str, Any]:
    return {"Name": name, "Values": list(values)}
