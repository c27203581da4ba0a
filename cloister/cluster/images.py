"""Images of the account's own: baked of an instance, listed, and pruned when there are newer ones."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cluster.lifecycle import observe
from cloister.cluster.lock import holding
from cloister.cluster.provided import only_on_ec2
from cloister.cluster.state import clusters_folder
from cloister.errors import UsageError
from cloister.plan.images import ImageSource, ObservedImages, OwnImage, Pruning, ami_tags, pruning
from cloister.providers.provider import Imaging, provider_for

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

Say = Callable[[str], None]

_WAIT_S = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baked:
    image: OwnImage
    source: ImageSource
    took_s: float


def bake(
    spec: ClusterSpec,
    *,
    state: Path,
    name: str | None = None,
    instance: str | None = None,
    reboot: bool = True,
    anew: bool = False,
    wait_s: float = _WAIT_S,
    say: Say = lambda text: None,
) -> Baked:
    """An image of the development instance that `ami: latest` finds from now on; waits until it is available.

    name: what its name begins with, by default the configured ami_tag.
    instance: an instance's id or a node's name, in place of the development instance.
    anew: do not continue a bake of the same that was cut off.
    """
    began = time.monotonic()
    provider = _provider(spec, state, "bake")
    prefix = name or _ami_tag(spec)
    source = _source(provider, spec, instance, state)
    with _holding(source.region, "cloister bake", state, wait_s, say):
        image = provider.bake(source, prefix, reboot=reboot, anew=anew, say=say)
    if elsewhere := [each for each in provider.image_regions() if each != source.region]:
        say(
            f"the image is in {source.region} only, and the cluster has nodes in {elsewhere[0]} too"
        )
    return Baked(image=image, source=source, took_s=time.monotonic() - began)


def images(
    spec: ClusterSpec | None, *, state: Path, everywhere: bool = False
) -> list[ObservedImages]:
    """Region by region. Without a configuration, in the region of AWS's own settings."""
    provider = _provider(spec, state, "images")
    return provider.images(provider.image_regions(everywhere=everywhere))


def prune(
    spec: ClusterSpec | None,
    *,
    state: Path,
    keep: int,
    prefix: str | None = None,
    everywhere: bool = False,
    dry_run: bool = False,
    wait_s: float = _WAIT_S,
    say: Say = lambda text: None,
) -> list[Pruning]:
    """Remove all but the newest `keep` images that cloister baked under the prefix, with their snapshots.

    What an instance runs on stays. Again after a crash, it removes what was left.
    """
    provider = _provider(spec, state, "images prune")
    prefix = prefix or (_ami_tag(spec) if spec else None)
    if prefix is None:
        raise UsageError("images prune: of which images?", hint="--prefix, or -c a configuration")
    done = []
    for region in provider.image_regions(everywhere=everywhere):
        with _holding(region, "cloister images prune", state, wait_s, say):
            [seen] = provider.images([region])
            chosen = pruning(seen, prefix=prefix, keep=keep)
            if not dry_run:
                provider.prune(chosen)
        done.append(chosen)
    return done


def _provider(spec: ClusterSpec | None, state: Path, what: str) -> Imaging:
    """Not the one that a cluster of this name was launched with: images belong to no cluster."""
    kind = spec.provider if spec else "ec2"
    provider = provider_for(kind, clusters_folder(state), spec)
    if not isinstance(provider, Imaging):
        raise only_on_ec2(what, f"cluster {spec.name if spec else ''}")
    return provider


def _ami_tag(spec: ClusterSpec) -> str:
    found = ami_tags(spec)
    if len(found) == 1 or (spec.ec2.image is not None and spec.ec2.image.ami_tag):
        return found[0]
    if not found:
        raise UsageError(
            "the configuration has no ami_tag, with which the image's name would begin",
            hint="give cluster.ec2.image {ami: latest, ami_tag: NAME}, or name the beginning here",
        )
    raise UsageError(
        f"the roles have images of several names: {', '.join(found)}", hint="say which one is meant"
    )


def _source(provider: Imaging, spec: ClusterSpec, instance: str | None, state: Path) -> ImageSource:
    if instance is None:
        if spec.ec2.development is None:
            raise UsageError(
                "bake: the configuration names no development instance",
                hint="give cluster.ec2.development its address, or --instance an id or a node",
            )
        return provider.image_source(spec.ec2.development.address)
    if instance.startswith("i-"):
        return provider.image_source(instance)
    nodes = {
        entry.node.name: entry.node for entry in observe(spec.name, state=state, spec=spec).nodes
    }
    if instance not in nodes:
        raise UsageError(
            f"bake: {instance} is neither an instance's id (i-…) nor a node of cluster {spec.name}",
            hint=f"its nodes: {', '.join(nodes) or 'none'}",
        )
    node = nodes[instance]
    found = provider.image_source(str(node.labels["instance"]), node.region)
    return dataclasses.replace(found, name=instance)


def _holding(
    region: str, command: str, state: Path, wait_s: float, say: Say
) -> AbstractContextManager[None]:
    # A cluster's name has no dot.
    return holding(
        f"images.{region}",
        command,
        state=state,
        wait_s=wait_s,
        say=say,
        what=f"region {region} (images)",
    )
