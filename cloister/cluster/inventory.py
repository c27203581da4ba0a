"""The files of `servers/`: addresses of the nodes, one per line, for scripts and MPI."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from cloister.cluster.cluster import Cluster, workers_of
from cloister.durable import read_json, write_json, write_whole
from cloister.errors import CloisterError
from cloister.plan.observed import Node

# What this cloister has written there; nothing else is ever removed.
_MANIFEST = ".cloister.json"
_SLOTS = 8


def write_inventory(cluster: Cluster, folder: Path, *, slots: int = _SLOTS) -> list[Path]:
    """The files written, after those of a previous launch that no longer apply are removed."""
    texts = inventory(cluster.nodes, slots=slots)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stale = _written_before(folder) - set(texts)
        # Before the files: a crash in between leaves nothing that is not known to be ours.
        write_json(folder / _MANIFEST, {"cluster": cluster.name, "files": sorted({*texts, *stale})})
        for name, text in texts.items():
            write_whole(folder / name, text)
        for name in stale:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / _MANIFEST, {"cluster": cluster.name, "files": sorted(texts)})
    except OSError as error:
        raise CloisterError(f"writing the names of the nodes to {folder}: {error}") from error
    return [folder / name for name in texts]


def remove_inventory(cluster: str, folder: Path) -> None:
    """The files of this cluster, after it is gone; those of another one stay."""
    manifest = read_json(folder / _MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("cluster") != cluster:
        return
    for name in [*_written_before(folder), _MANIFEST]:
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def inventory(nodes: Sequence[Node], *, slots: int = _SLOTS) -> dict[str, str]:
    """File name → content; the names that have no role of their own follow the first cloister."""
    roles = dict.fromkeys(role for node in nodes for role in node.roles)
    files = {f"{role}.txt": _public(_of_role(nodes, role)) for role in roles}
    workers = workers_of(nodes)
    # A role called `servers` keeps its file: it says the same thing better.
    files.setdefault("servers.txt", _public(workers))
    files["servers_public.txt"] = _public(workers)
    files["servers_private.txt"] = "".join(f"{node.private_address}\n" for node in workers)
    files["mpi_hosts.txt"] = "".join(
        f"{node.private_address} slots={slots} max-slots={slots}\n" for node in workers
    )
    return files


def _of_role(nodes: Sequence[Node], role: str) -> list[Node]:
    return [node for node in nodes if role in node.roles]


def _public(nodes: Sequence[Node]) -> str:
    return "".join(f"{node.address}\n" for node in nodes)


def _written_before(folder: Path) -> set[str]:
    manifest = read_json(folder / _MANIFEST)
    names = manifest.get("files", ()) if isinstance(manifest, dict) else ()
    # Never a path: a damaged manifest must not make us remove something elsewhere.
    return {name for name in names if isinstance(name, str) and Path(name).name == name}
