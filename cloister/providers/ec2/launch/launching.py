"""From batches to instances: each call journalled, repeatable, and on the next rung where there is no room."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloister.config.spec import ClusterSpec
from cloister.errors import ProviderError
from cloister.providers.ec2.api import Aws, AwsError
from cloister.providers.ec2.end.removing import terminate
from cloister.providers.ec2.image.images import user_of
from cloister.providers.ec2.journal import Intent, Journal
from cloister.providers.ec2.launch.batches import (
    CALLS_AT_ONCE,
    Batch,
    Rung,
    Site,
    ladder,
    machine_of,
    request,
)
from cloister.providers.ec2.observing import GONE, fitting, in_reservation
from cloister.providers.ec2.tags import Identity

# A token whose instances have been terminated stays used up: each attempt has another one.
_ATTEMPTS_MAX = 10
_NO_ROOM = frozenset(
    (
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientFreeAddressesInSubnet",
        "SpotMaxPriceTooLow",
        "Unsupported",
    )
)
_QUOTAS = {
    "VcpuLimitExceeded": "Running On-Demand Standard instances (L-1216C47A)",
    "InstanceLimitExceeded": "Running On-Demand Standard instances (L-1216C47A)",
    "MaxSpotInstanceCountExceeded": "All Standard Spot Instance Requests (L-34B43A08)",
}

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launching:
    """What every launch call of one launch has in common."""

    aws: Aws
    journal: Journal
    cluster: ClusterSpec
    identity: Identity
    sites: Mapping[str, Site]
    # Node → its region: all that the cluster is to have.
    wanted: Mapping[str, str]
    say: Say
    sleep: Callable[[float], None]


def launch_batches(launching: Launching, batches: Sequence[Batch]) -> None:
    """Every batch, as far as there is room for it; the first error when all have been tried."""
    if not batches:
        return
    regions = {batch.region for batch in batches}
    with ThreadPoolExecutor(min(CALLS_AT_ONCE * len(regions), len(batches))) as pool:
        started = [pool.submit(_climb, launching, batch) for batch in batches]
    for future in started:
        future.result()


def replay(launching: Launching) -> None:
    """Repeat the launch calls whose outcome is not known: what they made is not made again.

    Only those of this identity: others' tokens would start a cluster that was destroyed since.  Nodes that
    are no longer wanted, or in another region, are ended at once: looks may not show them for a while.
    """
    for intent in launching.journal.open_intents:
        if intent.action != "run_instances":
            launching.journal.settle(intent, "its own check finds out")
        elif _uid(intent) != launching.identity.uid:
            launching.journal.settle(intent, "of an earlier cluster")
        else:
            try:
                made = in_reservation(_asked(launching, intent), intent.region)
            except AwsError as error:
                launching.journal.settle(intent, error.code, refused=True)
                continue
            fit = fitting(made, launching.wanted)
            unwanted = [instance for instance in made if instance not in fit]
            terminate(launching.aws, unwanted, sleep=launching.sleep)


def _uid(intent: Intent) -> str:
    specifications = intent.request.get("TagSpecifications") or [{}]
    marks = {tag["Key"]: tag["Value"] for tag in specifications[0].get("Tags", ())}
    return str(marks.get("cloister:uid", ""))


def _climb(launching: Launching, batch: Batch) -> None:
    site = launching.sites[batch.region]
    rungs = ladder(machine_of(launching.cluster, batch.role), site)
    if not rungs:
        raise ProviderError(
            f"{batch}: no zone of {batch.region} has what is asked for",
            hint=f"zones with a subnet: {', '.join(site.zones)}; machine types: "
            + (
                ", ".join(f"{k} in {', '.join(sorted(z))}" for k, z in site.offered.items())
                or "none"
            ),
        )
    why = ""
    for rung in rungs:
        try:
            launched = _run(launching, site, batch, rung)
        except AwsError as error:
            if error.code in _QUOTAS:
                raise _over_quota(error, batch) from error
            if error.code not in _NO_ROOM:
                raise
            launched, why = 0, f"{error.code}: {rung}"
            launching.say(f"{batch}: no room for {rung}: {error.code}")
        rest = batch.rest(launched)
        if rest is None:
            return
        if launched:
            launching.say(f"{batch}: {launched} as {rung}, {rest.count} still to place")
        batch = rest
    raise ProviderError(
        f"{batch}: no capacity left; tried {', '.join(map(str, rungs))}; last: {why or 'only a part fitted'}",
        hint="`cloister launch` again continues; more zones, machine types or markets give it more to try",
    )


def _over_quota(error: AwsError, batch: Batch) -> ProviderError:
    return ProviderError(
        f"{batch}: {error}",
        hint=f"the quota is: {_QUOTAS[error.code]}; ask for more in Service Quotas of {error.region},"
        " or use fewer or smaller machines",
    )


def _run(launching: Launching, site: Site, batch: Batch, rung: Rung) -> int:
    """How many of the batch's first nodes exist now."""
    image = machine_of(launching.cluster, batch.role).image
    for attempt in range(_ATTEMPTS_MAX):
        parameters = request(
            batch,
            rung,
            cluster=launching.cluster,
            site=site,
            identity=launching.identity,
            user=launching.cluster.ssh.user or user_of(image),
            attempt=attempt,
        )
        intent = launching.journal.intend(batch.region, "run_instances", parameters)
        try:
            instances = _asked(launching, intent)["Instances"]
        except AwsError as error:
            launching.journal.settle(intent, error.code, refused=True)
            if error.code != "IdempotentInstanceTerminated":
                raise
            continue
        if any(entry["State"]["Name"] not in GONE for entry in instances):
            return len(instances)
    raise ProviderError(
        f"{batch}: {_ATTEMPTS_MAX} launches as {rung} ended at once",
        hint="the instances' state reasons in the AWS console say why",
    )


def _asked(launching: Launching, intent: Intent) -> Mapping[str, Any]:
    """The reply to the very same call until it is answered: its token lets it be carried out once."""
    reply: Mapping[str, Any] = launching.aws.seen(intent.region, intent.action, **intent.request)
    ids = [entry["InstanceId"] for entry in reply["Instances"]]
    launching.journal.settle(intent, " ".join(ids) or "none")
    return reply
