"""Commands in a folder of their own; whatever they launched is destroyed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from calling import Caller
from cloud.client import Cloud
from on_ec2 import User

from cloister.cluster.lifecycle import cluster_names, destroy

CONFIGURATION = """
cluster:
  name: NAME
  roles: {manager: 1, workers: 2}
deploy:
  - source: app
    target: app
    build: {command: cp main.txt made, artifacts: [made]}
experiments:
  - name: count
    sweep: {n: [1, 2]}
    repeats: 2
    timeout: 20s
    processes:
      p: {role: workers, command: "cat app/made; echo n {{ n }}"}
    metrics:
      n: {process: p, pattern: 'n (\\d+)', unit: things}
  - name: broken
    processes:
      p: {role: manager, command: "echo about to fail; exit 7"}
"""


def destroy_all(caller: Caller) -> None:
    for name in cluster_names(caller.state):
        destroy(name, state=caller.state)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Caller]:
    """An empty folder."""
    caller = Caller(folder=tmp_path)
    yield caller
    destroy_all(caller)


@pytest.fixture(scope="session")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A folder with a configuration and its cluster of three nodes; tests leave it as it is."""
    caller = Caller(folder=tmp_path_factory.mktemp("launched"))
    (caller.folder / "cloister.yaml").write_text(
        # Workers that launch at the same time would want the same addresses for the same name.
        CONFIGURATION.replace("NAME", f"small-{secrets.token_hex(4)}")
    )
    (caller.folder / "app").mkdir()
    (caller.folder / "app" / "main.txt").write_text("hello\n")
    try:
        caller.ok("launch")
        yield caller
    finally:
        destroy_all(caller)


@pytest.fixture
def user(cloud: Cloud, tmp_path: Path) -> Iterator[User]:
    """A user of the simulated EC2 with a configuration; nothing of the cluster may be left."""
    user = User(cloud=cloud, folder=tmp_path, name=f"t{secrets.token_hex(4)}")
    user.configure()
    yield user
    if any(user.name in line for line in cloud.billable()):
        assert user("destroy").status == 0
    assert [line for line in cloud.billable() if user.name in line] == []
