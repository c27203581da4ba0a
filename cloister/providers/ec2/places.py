"""In which regions a cluster is looked for."""

from __future__ import annotations

from cloister.config.spec import ClusterSpec
from cloister.providers.ec2.api import Aws
from cloister.providers.ec2.observing import all_regions, regions_with


def configured_regions(aws: Aws, name: str, spec: ClusterSpec | None) -> list[str]:
    """Those of the specification; without one, where something carries the cluster's tag."""
    if spec is None:
        return regions_with(aws, name, all_regions(aws))
    named = [region for role in spec.roles.values() for region in role.regions or ()]
    return list(dict.fromkeys([spec.ec2.region or aws.region, *named]))


def everywhere(aws: Aws, name: str, spec: ClusterSpec | None) -> list[str]:
    """Where the cluster should be, and where else something carries its tag."""
    found = regions_with(aws, name, all_regions(aws))
    return list(dict.fromkeys([*(configured_regions(aws, name, spec) if spec else ()), *found]))
