"""Looks that ask only for what can have changed: with few nodes that would not pay, so it is forced here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from cloud.client import Cloud
from ec2_account import Account

from cloister.providers.ec2.launch import watching

PAUSE_S, TRIES_MAX = 0.02, 1000


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud.start(folder, api_only=True, regions=["us-east-1", "eu-west-1"]) as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def all_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_FEW", 0)


def filters(account: Account, since: int) -> list[str]:
    """What the describe calls have filtered for, beside the cluster's tag."""
    return [
        str(call.parameters["Filter.2.Name"])
        for call in account.cloud.calls()[since:]
        if call.action == "DescribeInstances" and "Filter.2.Name" in call.parameters
    ]


def test_nodes_that_come_one_after_the_other_are_all_seen(account: Account) -> None:
    account.cloud.set(boot_s=[0.2, 0.6, 1.0, 1.4, 1.8], ssh_after_s=[0.5, 0.1])
    before = len(account.cloud.calls())
    regions = {"us-east-1": 7, "eu-west-1": 3}
    cluster = account.launch(roles={"workers": {"regions": regions}})
    assert len({node.address for node in cluster.nodes}) == 10
    assert len(account.said("running")) == 10
    assert {"instance-state-name", "instance-id"} <= set(filters(account, before))


@pytest.mark.parametrize("many", [True, False], ids=["more than fit a filter", "few"])
def test_a_node_that_ends_on_its_way_is_noticed_and_replaced(
    account: Account, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    if many:
        monkeypatch.setattr(watching, "_IDS_MAX", 1)
    first = len(account.cloud.instances()) + 1
    account.cloud.set(boot_s=[0.5, 1.0], fails_at_launch=[first + 1, first + 4])
    try:
        account.launch(roles={"workers": 5})
    finally:
        account.cloud.set(fails_at_launch=[], boot_s=0.05)
    assert len(account.living()) == 5
    assert len(account.said("failed")) == 2


def test_a_node_that_ends_before_it_answers_is_noticed(account: Account) -> None:
    """It runs already, and only its SSH server is waited for."""
    account.cloud.set(ssh_after_s=[3.0])

    def break_one() -> None:
        for _ in range(TRIES_MAX):
            running = [one for one in account.living() if one["state"] == "running"]
            if running:
                account.cloud.interrupt(running[0]["id"])
                return
            time.sleep(PAUSE_S)

    breaking = threading.Thread(target=break_one)
    breaking.start()
    try:
        account.launch(roles={"workers": 3})
    finally:
        breaking.join()
        account.cloud.set(ssh_after_s=0.05)
    assert len(account.living()) == 3
    assert len(account.said("failed")) == 1
