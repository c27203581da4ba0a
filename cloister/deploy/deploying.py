"""Code onto the nodes: synchronise, build once, distribute what was built."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloister.config.spec import SyncSpec
from cloister.deploy.building import Build, artifact_manifest, build
from cloister.deploy.sources import Source, source_of
from cloister.errors import CloisterError
from cloister.plan.observed import Node
from cloister.transport.fanout import FanOut
from cloister.transport.links import Links
from cloister.transport.manifest import Manifest, manifest
from cloister.transport.sync import Synced, sync


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    """`keys` maps each target to the hash of all that decides its content, builds included."""

    keys: Mapping[str, str]
    sources: tuple[Source, ...]
    builds: tuple[Build, ...]
    synced: Mapping[str, FanOut[Synced]]


def facts_of(links: Links, nodes: Sequence[Node]) -> dict[str, dict[str, Any]]:
    """CPU, kernel, memory and so on of each node."""
    links.open_all(nodes).raise_first()
    replies = [(node.name, links.channel(node).begin("facts")) for node in nodes]
    return {name: reply.wait() for name, reply in replies}


def deploy(
    links: Links,
    nodes: Sequence[Node],
    specs: Sequence[SyncSpec],
    facts: Mapping[str, Mapping[str, Any]],
    cache: Path,
    *,
    say: Callable[[str], None] = lambda text: None,
    failed: dict[str, CloisterError] | None = None,
) -> Deployed:
    """Everything in order; the first thing that fails on any node stops it.

    failed: where given, a node's error is put there instead, and that node gets nothing more.

    Whatever is interrupted, the next call completes: files are replaced whole, and builds are kept
    under their key only when they are complete.
    """
    keys: dict[str, str] = {}
    sources: list[Source] = []
    builds: list[Build] = []
    synced: dict[str, FanOut[Synced]] = {}
    for spec in specs:
        folder = Path(spec.source)
        source = manifest(folder, spec.exclude)
        chosen = [
            node
            for node in nodes
            if (spec.roles is None or set(spec.roles) & set(node.roles))
            and node.name not in (failed or {})
        ]
        made = _build_all(links, chosen, spec, source, facts, cache, say)
        artifacts = sorted({path for entry in made.values() for path in entry.artifacts})
        say(f"sync {spec.source} → {spec.target}")
        result = sync(links, chosen, source, spec.target, delete=spec.delete, protect=artifacts)
        _account(result, failed)
        for machine, entry in made.items():
            alike = [node for node in chosen if facts[node.name]["machine"] == machine]
            alike = [node for node in alike if node.name in result.values]
            _account(
                sync(links, alike, artifact_manifest(entry), spec.target, delete=False), failed
            )
        key = hashlib.sha256(
            "\n".join([source.key, *(b.key for b in made.values())]).encode()
        ).hexdigest()
        keys[spec.target] = key
        sources.append(source_of(folder, spec.target, source.key))
        builds += made.values()
        synced[spec.target] = result
    return Deployed(keys=keys, sources=tuple(sources), builds=tuple(builds), synced=synced)


def _account(result: FanOut[Synced], failed: dict[str, CloisterError] | None) -> None:
    if failed is None:
        result.raise_first()
    else:
        failed.update(result.errors)


def _build_all(
    links: Links,
    nodes: Sequence[Node],
    spec: SyncSpec,
    source: Manifest,
    facts: Mapping[str, Mapping[str, Any]],
    cache: Path,
    say: Callable[[str], None],
) -> dict[str, Build]:
    """One build per CPU architecture among the nodes, on the first node of each."""
    made: dict[str, Build] = {}
    if spec.build is None:
        return made
    for node in nodes:
        machine = str(facts[node.name]["machine"])
        if machine not in made:
            made[machine] = build(links, node, source, spec.build, facts[node.name], cache, say)
    return made
