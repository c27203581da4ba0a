"""Real local clusters, and clusters on a simulated EC2, for every test; destroyed whatever happens."""

from __future__ import annotations

import contextlib
import gc
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import shared_clients
from cloud.client import Cloud
from ec2_account import Account

from cloister.cluster import Cluster

# The first text that hypothesis draws in a fresh checkout takes seconds, as it tabulates Unicode then; its
# watch over the time that drawing takes says nothing about what is tested.
hypothesis.settings.register_profile(
    "here", suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each of the parallel workers is given an equal stretch of the tests, and takes from others' when it
    has no more: the slow ones are dealt out to the beginnings, so that none is left to be waited for."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    slow = [item for item in items if item.get_closest_marker("slow")]
    others = [item for item in items if not item.get_closest_marker("slow")]
    length = -(-len(items) // workers)
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        mine = slow[worker::workers]
        taken = length * (worker + 1) - len(dealt) - len(mine)
        dealt += [*mine, *others[:taken]]
        del others[:taken]
    items[:] = dealt + others


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: it is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How often something was killed: a sweep that has lost its cases would pass as well."""
    crashes = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "crashes"
    ]
    if crashes:
        terminalreporter.write_line(
            f"{sum(crashes)} crashes in {len(crashes)} sweeps, nothing leaked"
        )


LocalCluster = Callable[..., Cluster]

# A shell starts background jobs with SIGINT ignored, and what these tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def _local_clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    # Here, so that tests of pure code do not pay for these imports.
    from cloister.cluster.lifecycle import destroy, launch
    from cloister.config.spec import ClusterSpec

    launched: list[tuple[str, Path]] = []

    def launch_cluster(count: int | None = None, **roles: int) -> Cluster:
        name = f"test-{secrets.token_hex(4)}"
        state = tmp_path_factory.mktemp("state")
        launched.append((name, state))
        counts = roles if count is None else {"workers": count, **roles}
        spec = ClusterSpec.model_validate({"name": name, "roles": counts})
        return launch(spec, state=state)

    try:
        yield launch_cluster
    finally:
        for name, state in launched:
            destroy(name, state=state)


@pytest.fixture
def local_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """`local_cluster(3)` launches three nodes workers1 … workers3; `local_cluster(manager=1, workers=2)`
    those roles. Every call makes a new cluster; all are destroyed at the end of the test.

    The state folder is `cluster.folder.parent.parent`.
    """
    with _local_clusters(tmp_path_factory) as launch_cluster:
        yield launch_cluster


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """As `local_cluster`, until the end of the module."""
    with _local_clusters(tmp_path_factory) as launch_cluster:
        yield launch_cluster


@pytest.fixture(scope="session")
def session_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """As `local_cluster`, until the end of all tests."""
    with _local_clusters(tmp_path_factory) as launch_cluster:
        yield launch_cluster


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One simulated cloud for each module."""
    # All thirty-four that moto knows would take each destroy a second.
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud.start(folder, regions=["us-east-1", "eu-west-1", "us-west-2"]) as cloud:
        yield cloud
    shared_clients.forget()


@pytest.fixture
def account(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """A cluster name of its own for each test; nothing of it may be left."""
    monkeypatch.setattr("cloister.providers.ec2.api.Aws._client", shared_clients.client)
    for name, value in cloud.variables.items():
        monkeypatch.setenv(name, value)
    # Far above the simulation's delays; AWS's would keep a destroy waiting for what another one removed.
    monkeypatch.setattr("cloister.providers.ec2.api.VISIBLE_WITHIN_S", 1.5)
    account = Account(cloud, tmp_path / "state", f"t{secrets.token_hex(4)}")
    yield account
    account.destroy()
    assert account.billable() == []


@pytest.fixture
def up(account: Account, tmp_path: Path) -> Callable[..., Cluster]:
    """`up(ec2={"lease": "1h"})` launches the cluster with these changes, until its nodes can be used."""
    from cloister.deploy.bringing_up import bring_up

    def launched(**changes: Any) -> Cluster:
        return bring_up(
            account.spec(**changes),
            state=account.state,
            servers=tmp_path / "servers",
            wait_s=10,
            report=account.events.append,
            say=lambda text: None,
        )

    return launched
