"""Everything that there is: the regions and what they hold, the clock, the settings, the bill, the nodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cloud.agenda import Agenda
from cloud.bill import Bill
from cloud.clock import Clock
from cloud.doors import Doors
from cloud.images import given_images
from cloud.network import Network, default_group
from cloud.nodes import Nodes
from cloud.refusals import Refusal
from cloud.resources import Instance, Region, Resource
from cloud.settings import Settings, changed

ACCOUNT = "123456789012"

Kind = TypeVar("Kind", bound=Resource)


class World:
    """All is read and changed under `lock`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.lock = threading.RLock()
        self.clock = Clock(settings.time_scale)
        self.agenda = Agenda(self.clock, self.lock)
        self.bill = Bill()
        self.network = Network()
        self.nodes = Nodes(folder)
        self.doors = Doors()
        self.launched = 0
        # Schedule and its time → what tests had skipped when it was set.
        self.skipped: dict[tuple[str, str], float] = {}
        self._regions: dict[str, Region] = {}
        # What is no longer there: the table that had it, and when that was in real seconds.
        self._gone: list[tuple[Mapping[str, Resource], Resource, float]] = []

    def configure(self, changes: Mapping[str, Any]) -> None:
        self.settings = changed(self.settings, changes)
        if "time_scale" in changes:
            self.clock.rescale(self.settings.time_scale)
        if "images" in changes:
            for region in self._regions.values():
                self._give_images(region)

    def region(self, name: str) -> Region:
        """Each comes into being when it is first asked about, with its default group and images."""
        if name not in self._regions:
            region = self._regions[name] = Region(name=name)
            group = default_group(self.network.vpc(name), self.clock.now())
            region.groups[group.id] = group
            self._give_images(region)
        return self._regions[name]

    def regions(self) -> list[Region]:
        return list(self._regions.values())

    def instances(self) -> Iterator[Instance]:
        for region in self.regions():
            yield from region.instances.values()

    def instance(self, instance_id: str) -> Instance:
        """KeyError if there is none of this id anywhere."""
        for region in self._regions.values():
            if instance_id in region.instances:
                return region.instances[instance_id]
        raise KeyError(instance_id)

    def visible(self, resource: Resource) -> bool:
        """Whether callers are told of it yet, and still."""
        age_s = self.clock.now().real_s - resource.created.real_s
        return age_s >= self.settings.visible_after_s and not self._forgotten(resource)

    def seen(self, resources: Mapping[str, Kind]) -> list[Kind]:
        return [one for one in resources.values() if self.visible(one)]

    def remove(self, resources: dict[str, Kind], key: str) -> None:
        gone = resources.pop(key)
        if self.settings.gone_visible_s:
            self._gone.append((resources, gone, self.clock.now().real_s))

    def listed(self, resources: Mapping[str, Kind]) -> list[Any]:
        """As describes show them that name none: what is seen, and for a while what is gone."""
        since_s = self.clock.now().real_s - self.settings.gone_visible_s
        gone = [one for table, one, at_s in self._gone if table is resources and at_s > since_s]
        return [*self.seen(resources), *gone]

    def find(
        self, resources: Mapping[str, Kind], key: str, refusal: Callable[[str], Refusal]
    ) -> Kind:
        """By id; the refusal if it is not there, or not to be seen yet."""
        found = resources.get(key)
        if found is None or not self.visible(found):
            raise refusal(key)
        return found

    def _forgotten(self, resource: Resource) -> bool:
        ended_s = getattr(resource, "terminated_s", None)
        if ended_s is None:
            return False
        age_s: float = self.clock.simulated_s - ended_s
        return age_s > self.settings.terminated_visible_s

    def _give_images(self, region: Region) -> None:
        own = {key: image for key, image in region.images.items() if not image.given}
        given = given_images(region.name, self.settings.images, self.clock.now())
        region.images = {**given, **own}
