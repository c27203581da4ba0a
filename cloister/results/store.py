"""The evidence on disk: one folder per attempt, its record written last.

    <results>/<experiment>/<point>/rep-<n>/attempt-<k>/record.json, artifacts…
    <results>/<experiment>/provenance/…     shared by trials, named by content

An attempt counts only if it has a record.json: what a killed attempt left stays, and is no result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from cloister.errors import CloisterError
from cloister.experiment.record import Artifact, TrialRecord, from_json, to_json
from cloister.results.durable import clear_errors, digest, sync_all, write_atomically
from cloister.results.lock import locked

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from cloister.experiment.trial import Trial

RECORD = "record.json"
PROVENANCE = "provenance"

# Other processes may take the next number again and again; this many times is a broken file system.
_MKDIR_TRIES_MAX = 1000
# rep-N, the point, the experiment and the results folder: each may be new.
_LEVELS = 4
_RECORD_BYTES_MAX = 256 << 20
# Enough of a SHA-256 to tell the few copies of one experiment apart.
_NAME_DIGITS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damage:
    """Evidence that is not as it was saved: `path` is the file, `trial` the trial it belongs to."""

    path: Path
    trial: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """What there is of a trial.

    complete  a result of this definition, verified; the only kind that need not run.
    changed   complete, but measured with another definition.
    damaged   `damages` says which files, and why.
    failed, invalid   as the latest attempt ended.
    missing   no attempt has a record.

    `damages` may also tell of other attempts of a trial that is complete all the same.
    """

    kind: Literal["complete", "changed", "damaged", "failed", "invalid", "missing"]
    record: TrialRecord | None = None
    damages: tuple[Damage, ...] = ()

    @property
    def to_run(self) -> bool:
        return self.kind != "complete"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """All that can be read in a store, and all that cannot."""

    records: tuple[TrialRecord, ...]
    damages: tuple[Damage, ...]


@dataclasses.dataclass(frozen=True)
class Store:
    folder: Path

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """For `run`: Busy if another run holds this folder."""
        return locked(self.folder)

    def new_attempt(self, trial: Trial) -> tuple[int, Path]:
        """The number and the new, empty folder of the next attempt; mkdir decides between processes."""
        parent = self.folder / trial.id
        with clear_errors("create", parent):
            parent.mkdir(parents=True, exist_ok=True)
            for _ in range(_MKDIR_TRIES_MAX):
                number = max(_numbers(parent, "attempt"), default=0) + 1
                folder = parent / f"attempt-{number}"
                try:
                    folder.mkdir()
                except FileExistsError:
                    continue
                return number, folder
        raise CloisterError(f"cannot create an attempt in {parent}: every number is taken at once")

    def attempt_folder(self, record: TrialRecord) -> Path:
        return self.folder / record.trial / f"attempt-{record.attempt}"

    def save(self, record: TrialRecord) -> None:
        """Makes the attempt count, for good: artifacts checked and on disk first, the record last.

        CloisterError if an artifact is not what the node had, if the disk is full, or if the
        attempt was saved before; then there is no record and the attempt does not count.
        """
        folder = self.attempt_folder(record)
        if (folder / RECORD).exists():
            raise CloisterError(f"cannot save {record.trial}: {folder / RECORD} exists already")
        if damages := _damages(folder, record):
            raise CloisterError(
                f"cannot save {record.trial}: " + "; ".join(str(damage) for damage in damages)
            )
        with clear_errors("write", folder):
            sync_all(
                [
                    *(folder / entry.path for entry in record.artifacts),
                    *_folders_of(folder, record.artifacts),
                    *(folder.parents[level] for level in range(_LEVELS)),
                ]
            )
        text = json.dumps(to_json(record), indent=1, default=str, ensure_ascii=False)
        write_atomically(folder / RECORD, text.encode("utf-8", "replace") + b"\n")

    def keep(self, experiment: str, name: str, content: bytes) -> str:
        """Keeps something that trials share; its path relative to the experiment's folder."""
        stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
        key = hashlib.sha256(content).hexdigest()[:_NAME_DIGITS]
        path = self.folder / experiment / PROVENANCE / f"{stem}-{key}{suffix}"
        with clear_errors("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and path.read_bytes() == content:
                return f"{PROVENANCE}/{path.name}"
        write_atomically(path, content)
        return f"{PROVENANCE}/{path.name}"

    def contents(self) -> Contents:
        """Every attempt, latest first within a trial; artifacts are not read, see `verify`."""
        found = [_read(self.folder, path) for path in _attempts_of_all(self.folder)]
        return Contents(
            records=tuple(entry for entry in found if isinstance(entry, TrialRecord)),
            damages=tuple(entry for entry in found if isinstance(entry, Damage)),
        )

    def records(self, *, every_attempt: bool = False) -> tuple[TrialRecord, ...]:
        """The latest attempt of each trial, or every one."""
        everything = self.contents().records
        if every_attempt:
            return everything
        latest: dict[str, TrialRecord] = {}
        for record in everything:
            latest.setdefault(record.trial, record)
        return tuple(latest.values())

    def latest(self, trial_id: str) -> TrialRecord | None:
        entries = (_read(self.folder, path) for path in _attempts(self.folder / trial_id))
        return next((entry for entry in entries if isinstance(entry, TrialRecord)), None)

    def standing(self, trial: Trial, definition: str) -> Standing:
        """What the runner has to know about a trial; reads and verifies its evidence."""
        found = [_read(self.folder, path) for path in _attempts(self.folder / trial.id)]
        damages = [entry for entry in found if isinstance(entry, Damage)]
        records = [entry for entry in found if isinstance(entry, TrialRecord)]
        candidate: TrialRecord | None = None
        for record in records:
            if record.verdict != "complete" or record.definition != definition:
                continue
            candidate = candidate or record
            problems = self.verify(record)
            damages += problems
            if not problems:
                return Standing(kind="complete", record=record, damages=tuple(damages))
        if candidate is not None or (damages and not records):
            return Standing(kind="damaged", record=candidate, damages=tuple(damages))
        if not records:
            return Standing(kind="missing")
        newest = records[0]
        kind = "changed" if newest.verdict == "complete" else newest.verdict
        return Standing(kind=kind, record=newest, damages=tuple(damages))

    def verify(self, record: TrialRecord) -> list[Damage]:
        """Every artifact that is missing or is not, byte for byte, what the node had."""
        return _damages(self.attempt_folder(record), record)


def _numbers(folder: Path, kind: str) -> list[int]:
    """The numbers of `<kind>-<number>` in a folder, highest first."""
    found = (re.fullmatch(rf"{kind}-([1-9]\d*)", entry.name) for entry in _entries(folder))
    return sorted((int(match[1]) for match in found if match), reverse=True)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CloisterError(f"cannot read {folder}: {error.strerror}") from error


def _attempts_of_all(results: Path) -> Iterator[Path]:
    for experiment in _entries(results):
        for point in _entries(experiment):
            if point.name == PROVENANCE:
                continue
            for repeat in reversed(_numbers(point, "rep")):
                yield from _attempts(point / f"rep-{repeat}")


def _attempts(trial_folder: Path) -> Iterator[Path]:
    """The records of a trial, latest first; an attempt without one is not there."""
    for number in _numbers(trial_folder, "attempt"):
        path = trial_folder / f"attempt-{number}" / RECORD
        if path.exists() or path.is_symlink():
            yield path


def _read(results: Path, path: Path) -> TrialRecord | Damage:
    """A record that is one and lies where it belongs, or what is wrong with it."""
    place = path.parent.relative_to(results)
    trial, attempt = place.parent.as_posix(), place.name
    try:
        if path.stat().st_size > _RECORD_BYTES_MAX:
            raise ValueError("far too large for a record")
        record = _parsed(path.read_bytes())
    except OSError as error:
        return Damage(path=path, trial=trial, why=f"cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return Damage(path=path, trial=trial, why=f"not a record of a trial: {error}")
    if (record.trial, f"attempt-{record.attempt}") != (trial, attempt):
        why = f"belongs to attempt {record.attempt} of {record.trial}, not here"
        return Damage(path=path, trial=trial, why=why)
    return record


def _parsed(content: bytes) -> TrialRecord:
    from pydantic import ValidationError

    try:
        data: Any = json.loads(content)
    except ValueError as error:
        raise ValueError(f"truncated or not JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError("expected a JSON object")
    from_json(data)
    try:
        return _adapter().validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        raise ValueError(f"{where}: {first['msg']}") from None


@functools.cache
def _adapter() -> TypeAdapter[TrialRecord]:
    """Checks the types, which from_json takes on trust."""
    from pydantic import TypeAdapter

    return TypeAdapter(TrialRecord)


def _damages(folder: Path, record: TrialRecord) -> list[Damage]:
    found = ((entry, _wrong(folder, entry)) for entry in record.artifacts)
    return [
        Damage(path=folder / entry.path, trial=record.trial, why=why) for entry, why in found if why
    ]


def _wrong(folder: Path, artifact: Artifact) -> str:
    """Why the file is not the artifact, empty if it is."""
    relative = PurePosixPath(artifact.path)
    if relative.is_absolute() or ".." in relative.parts:
        return "lies outside the attempt's folder"
    if not artifact.path.isprintable():
        return "has a name that is not printable text"
    path = folder / relative
    try:
        if not path.is_symlink() and path.exists() and not path.is_file():
            return "is not a regular file"
        size, sha256 = digest(path)
    except FileNotFoundError:
        return "is missing"
    except (OSError, ValueError) as error:
        return f"cannot be read: {error}"
    if size != artifact.size:
        return f"has {size} bytes, had {artifact.size} on node {artifact.node}"
    if sha256 != artifact.sha256:
        return f"has SHA-256 {sha256[:12]}…, had {artifact.sha256[:12]}… on node {artifact.node}"
    return ""


def _folders_of(folder: Path, artifacts: tuple[Artifact, ...]) -> list[Path]:
    """The folders between an attempt and its artifacts, innermost first."""
    found = {
        folder / inner
        for entry in artifacts
        for inner in PurePosixPath(entry.path).parents
        if inner != PurePosixPath(".")
    }
    return sorted(found, key=lambda path: len(path.parts), reverse=True)
