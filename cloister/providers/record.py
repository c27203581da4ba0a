"""What a cluster's folder says about it: `cluster.json`, written before anything is launched."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloister.durable import read_json, write_json
from cloister.errors import ProviderError, UsageError

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

_FILE = "cluster.json"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterRecord:
    """`uid` is the mark of the cluster's processes; `spec` is the configuration as data; Unix seconds.

    regions: all in which something of it was ever launched.  account: of AWS, in which it is.
    """

    uid: str
    name: str
    provider: str
    spec: dict[str, Any]
    created: float
    regions: list[str] = dataclasses.field(default_factory=list)
    account: str = ""


def cluster_folder(clusters: Path, name: str) -> Path:
    """The folder of that cluster; UsageError for what cannot be a cluster's name (it becomes a path)."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name of a cluster", hint="lower-case letters, digits and dashes"
        )
    return clusters / name


def read_record(folder: Path) -> ClusterRecord | None:
    """None when there is no record, or none that can be read."""
    data = read_json(folder / _FILE)
    try:
        return ClusterRecord(**data)
    except TypeError:
        return None


def recorded_spec(folder: Path) -> ClusterSpec | None:
    """The configuration of the last launch; None if there is none, or another version wrote it."""
    from pydantic import ValidationError

    from cloister.config.spec import ClusterSpec

    record = read_record(folder)
    try:
        return ClusterSpec.model_validate(record.spec) if record else None
    except ValidationError:
        return None


def claimed(
    clusters: Path,
    spec: ClusterSpec,
    *,
    uid: str = "",
    regions: Iterable[str] = (),
    account: str = "",
) -> ClusterRecord:
    """The cluster's record with the present configuration, made if there is none.

    uid: the cluster's, where something else than the record decides about it.  regions: added to those
    that it has.  account: that of the record stays where none is given.

    The first thing that a launch writes: from here on `destroy` knows what carries which mark.
    """
    folder = cluster_folder(clusters, spec.name)
    before = read_record(folder)
    record = ClusterRecord(
        # A cluster's name has no dot, so the mark tells the name.
        uid=uid or (before.uid if before else f"{spec.name}.{secrets.token_hex(4)}"),
        name=spec.name,
        provider=spec.provider,
        spec=spec.model_dump(mode="json", exclude_unset=True),
        created=before.created if before else time.time(),
        regions=list(dict.fromkeys([*(before.regions if before else ()), *regions])),
        account=account or (before.account if before else ""),
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if record != before:
            write_json(folder / _FILE, dataclasses.asdict(record), mode=0o600, durably=True)
    except OSError as error:
        raise ProviderError(
            f"recording cluster {spec.name} in {folder}: {error.strerror}",
            hint="CLOISTER_STATE names another folder for what cloister keeps",
        ) from error
    return record


def forget(folder: Path) -> None:
    """Remove the record; the last step of a destroy, after which the cluster does not exist."""
    (folder / _FILE).unlink(missing_ok=True)
