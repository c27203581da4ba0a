"""The fixtures of the tests of results; what they are made of is in evidence.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from evidence import Saved, artifact, record

from cloister.experiment.record import TrialRecord
from cloister.experiment.trial import Trial
from cloister.results.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def saved(store: Store) -> Saved:
    """Saves an attempt at a trial, with the files given."""

    def save(of: Trial, files: Mapping[str, bytes] | None = None, **changes: Any) -> TrialRecord:
        number, folder = store.new_attempt(of)
        files = {"main-0@n1/stdout.log": b"hello\n"} if files is None else files
        artifacts = tuple(artifact(folder, path, content) for path, content in files.items())
        entry = record(of, number, artifacts=artifacts, **changes)
        store.save(entry)
        return entry

    return save
