"""One process that starts victims for all sweeps of a worker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from sweeping import Victims


@pytest.fixture(scope="session")
def victims() -> Iterator[Victims]:
    with contextlib.closing(Victims()) as victims:
        yield victims
