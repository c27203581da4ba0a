"""The vCPUs that a configuration needs beside those that the account may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloister.config.spec import ClusterSpec
from cloister.plan.observed import Node
from cloister.providers.ec2 import tags
from cloister.providers.ec2.api import Aws, AwsError
from cloister.providers.ec2.launch.batches import machine_of
from cloister.providers.ec2.tags import tags_of
from cloister.providers.provider import Checked

# Market → the quota of the families below. Other families have quotas of their own.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html
STANDARD = {
    "on-demand": ("L-1216C47A", "Running On-Demand Standard instances"),
    "spot": ("L-34B43A08", "All Standard Spot Instance Requests"),
}
_STANDARD_FAMILIES = frozenset("acdhimrtz")
# Special families that begin with such a letter.
_OTHERS = ("hpc", "inf", "trn", "mac", "dl")
_TAKEN = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
_WHAT = "vCPU quota"


def checked_quotas(aws: Aws, spec: ClusterSpec, nodes: Sequence[Node]) -> list[Checked]:
    """One line for each region and market. Nodes count with their first machine type and market."""
    asked: dict[tuple[str, str], Counter[str]] = {}
    for node in nodes:
        machine = machine_of(spec, node.roles[0])
        market = (machine.markets or ("on-demand",))[0]
        asked.setdefault((node.region, market), Counter())[machine.machines[0]] += 1
    return [_checked(aws, spec.name, *where, kinds) for where, kinds in asked.items()]


def _checked(aws: Aws, name: str, region: str, market: str, kinds: Mapping[str, int]) -> Checked:
    code, quota = STANDARD[market]
    standard = {kind: count for kind, count in kinds.items() if is_standard(kind)}
    if not standard:
        return Checked(
            what=_WHAT,
            ok=None,
            found=f"not looked up for {', '.join(kinds)}: their family has a quota of its own",
        )
    try:
        reply = aws.asked(
            region,
            "get_service_quota",
            service="service-quotas",
            ServiceCode="ec2",
            QuotaCode=code,
        )
        needed = _vcpus(aws, region, standard)
        taken = _vcpus(aws, region, _taken(aws, name, region, market))
    except AwsError as error:
        return Checked(what=_WHAT, ok=None, found=f"not known in {region}: {error.message}")
    limit = float(reply["Quota"]["Value"])
    return Checked(
        what=_WHAT,
        ok=needed + taken <= limit,
        found=f"{needed} needed in {region} ({market}), {taken} taken by others, {limit:g} allowed"
        f" ({quota}, {code})",
        mend=f"ask for more in Service Quotas of {region}, or use fewer or smaller machines",
    )


def is_standard(machine: str) -> bool:
    return machine[0] in _STANDARD_FAMILIES and not machine.startswith(_OTHERS)


def _taken(aws: Aws, name: str, region: str, market: str) -> Counter[str]:
    """Machine types of instances that are not this cluster's."""
    found: Counter[str] = Counter()
    for reservation in aws.pages(region, "describe_instances", "Reservations", Filters=_TAKEN):
        for instance in reservation["Instances"]:
            spot = instance.get("InstanceLifecycle") == "spot"
            ours = tags_of(instance).get(tags.CLUSTER) == name
            kind = instance["InstanceType"]
            if spot == (market == "spot") and not ours and is_standard(kind):
                found[kind] += 1
    return found


def _vcpus(aws: Aws, region: str, kinds: Mapping[str, int]) -> int:
    if not kinds:
        return 0
    each = {
        entry["InstanceType"]: int(entry["VCpuInfo"]["DefaultVCpus"])
        for entry in _types(aws, region, sorted(kinds))
    }
    return sum(count * each[kind] for kind, count in kinds.items())


def _types(aws: Aws, region: str, kinds: Sequence[str]) -> Iterable[Any]:
    return aws.pages(region, "describe_instance_types", "InstanceTypes", InstanceTypes=list(kinds))
