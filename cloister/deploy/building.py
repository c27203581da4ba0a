"""Building once per CPU architecture, on one node, and keeping what was built."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloister.config.spec import BuildSpec
from cloister.durable import write_json
from cloister.errors import CloisterError
from cloister.plan.observed import Node
from cloister.transport.links import Links
from cloister.transport.manifest import Manifest, manifest
from cloister.transport.process import Outcome
from cloister.transport.sync import sync
from cloister.transport.transfer import Fetch, Found, find

# Below the work folder of the builder.
BUILDS = ".cloister/builds"
LAST_LINES = 20
_KEY_DIGITS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Build:
    """Artifacts of one architecture in `folder` on this machine; `cached` if nothing had to be built."""

    key: str
    machine: str
    builder: str
    folder: Path
    artifacts: tuple[str, ...]
    cached: bool


def build_key(source: Manifest, spec: BuildSpec, facts: Mapping[str, Any]) -> str:
    """What decides the content of the artifacts, as far as can be known beforehand."""
    decisive = [
        source.key,
        spec.command,
        sorted(spec.env.items()),
        list(spec.artifacts),
        facts["machine"],
        facts["system"],
    ]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:_KEY_DIGITS]


def build(
    links: Links,
    builder: Node,
    source: Manifest,
    spec: BuildSpec,
    facts: Mapping[str, Any],
    cache: Path,
    say: Callable[[str], None] = lambda text: None,
) -> Build:
    """The artifacts, from the cache if they are there. CloisterError with the compiler's last lines."""
    key = build_key(source, spec, facts)
    folder = cache / key
    listing = folder.with_suffix(".json")
    cached = found = _cached(folder, listing)
    if found is None:
        say(f"build {source.folder} on {builder.name} ({facts['machine']}): {spec.command}")
        found = _build(links, builder, source, spec, key, folder)
        write_json(listing, [dataclasses.asdict(entry) for entry in found])
    return Build(
        key=key,
        machine=str(facts["machine"]),
        builder=builder.name,
        folder=folder,
        artifacts=tuple(entry.path for entry in found),
        cached=cached is not None,
    )


def _cached(folder: Path, listing: Path) -> list[Found] | None:
    """What an earlier build left, if every file of it is still what it was."""
    try:
        entries = [Found(**entry) for entry in json.loads(listing.read_text(encoding="utf-8"))]
        for entry in entries:
            with (folder / entry.path).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                    return None
    except (OSError, ValueError, TypeError):
        return None
    return entries


def _build(
    links: Links, builder: Node, source: Manifest, spec: BuildSpec, key: str, folder: Path
) -> list[Found]:
    channel = links.channel(builder)
    place = f"{BUILDS}/{key}"
    # What a killed build left there may be half a file that make would take for up to date.
    channel.call("remove", path=place, timeout_s=None)
    sync(links, [builder], source, place).raise_first()
    process = channel.start(
        spec.command, folder=place, env=spec.env, timeout_s=spec.timeout, once=True
    )
    outcome = process.wait(spec.timeout + 30.0)
    if not outcome.ok:
        raise CloisterError(
            f"the build `{spec.command}` of {source.folder} failed on {builder.name}: {outcome}\n"
            + _last_lines(outcome)
        )
    found = find(channel, place, list(spec.artifacts))
    missing = [
        p
        for p in spec.artifacts
        if not any(Path(f.path).match(p) or f.path.startswith(p) for f in found)
    ]
    if missing:
        raise CloisterError(
            f"the build `{spec.command}` of {source.folder} ended well on {builder.name} "
            f"but left nothing that matches {', '.join(missing)}",
            hint="`artifacts` are glob patterns relative to the source folder",
        )
    shutil.rmtree(folder, ignore_errors=True)
    fetches = [
        (entry, Fetch(channel, f"{place}/{entry.path}", folder / entry.path)) for entry in found
    ]
    for entry, fetch in fetches:
        fetch.finish()
        # Times and modes as on the builder, so that equal artifacts are never sent twice.
        (folder / entry.path).chmod(entry.mode)
        os.utime(folder / entry.path, ns=(entry.mtime_ns, entry.mtime_ns))
    return found


def _last_lines(outcome: Outcome) -> str:
    text = (outcome.stdout + b"\n" + outcome.stderr).decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])


def artifact_manifest(made: Build) -> Manifest:
    return manifest(made.folder)
