"""Volumes for swap: one for each node, whatever happens, and none when the nodes are gone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud.client import Cloud
from ec2_account import Account

from cloister.cluster.provided import provider_of
from cloister.errors import UsageError
from cloister.providers.ec2.swap import Volume, next_step
from cloister.providers.provider import Swapping, Swaps

ROLES: dict[str, Any] = {"manager": 1, "workers": {"count": 2, "swap": 3}}

NEW = Volume(
    id="vol-1",
    owner="i-1",
    region="us-east-1",
    state="creating",
    gib=3,
    instance="",
    device="",
    attached=False,
    goes_with_it=False,
)


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, "wait"),
        ({"state": "available"}, "attach"),
        ({"state": "in-use", "instance": "i-1"}, "wait"),
        ({"state": "in-use", "instance": "i-1", "attached": True}, "keep"),
        ({"state": "in-use", "instance": "i-1", "attached": True, "goes_with_it": True}, "done"),
    ],
)
def test_a_volume_tells_what_is_missing(changes: dict[str, Any], step: str) -> None:
    assert next_step(dataclasses.replace(NEW, **changes)) == step


def test_without_a_volume_one_is_made() -> None:
    assert next_step(None) == "create"


@pytest.fixture
def slow(cloud: Cloud) -> Iterator[Cloud]:
    """Volumes take their time."""
    cloud.set(volume_s=0.3)
    yield cloud
    cloud.set(volume_s=0.0, refuse=[], lose_reply=[])


def attach(account: Account, **changes: Any) -> Swaps:
    provider = provider_of(account.name, account.state, account.spec(**{"roles": ROLES, **changes}))
    assert isinstance(provider, Swapping)
    return provider.attach_swap(account.name, lambda text: None)


def volumes(account: Account) -> list[str]:
    """Instance, or "available", of each volume of the cluster; the roots too."""
    return sorted(line.split()[3] for line in account.billable() if " volume " in line)


def workers(account: Account) -> list[str]:
    return sorted(i["id"] for i in account.living() if i["tags"]["cloister:roles"] == "workers")


def every(account: Account) -> list[str]:
    """One root volume for each instance, and the workers' swap."""
    return sorted([*(i["id"] for i in account.living()), *workers(account)])


def test_nodes_of_roles_with_swap_get_a_volume_that_goes_with_them(
    account: Account, slow: Cloud
) -> None:
    account.launch(roles=ROLES)
    swaps = attach(account)
    assert swaps.errors == {}
    assert {name: swap.gib for name, swap in swaps.volumes.items()} == {
        "workers1": 3,
        "workers2": 3,
    }
    assert volumes(account) == every(account)
    for instance in workers(account):
        account.cloud.interrupt(instance)
    account.cloud.settle()
    assert len(volumes(account)) == 1, "only the manager's root is left"


def test_attaching_again_makes_nothing(account: Account, slow: Cloud) -> None:
    account.launch(roles=ROLES)
    first = attach(account)
    before = account.called("CreateVolume")
    assert attach(account) == first
    assert account.called("CreateVolume") == before


@pytest.mark.parametrize("action", ["AttachVolume", "ModifyInstanceAttribute"])
def test_what_was_interrupted_is_continued_without_a_second_volume(
    account: Account, slow: Cloud, action: str
) -> None:
    account.launch(roles=ROLES)
    slow.set(refuse=[{"action": action, "code": "UnauthorizedOperation"}])
    assert set(attach(account).errors) == {"workers1", "workers2"}
    slow.set(refuse=[])
    assert attach(account).errors == {}
    assert volumes(account) == every(account)


def test_lost_replies_double_nothing(account: Account, slow: Cloud) -> None:
    account.launch(roles=ROLES)
    slow.set(lose_reply=["CreateVolume", "AttachVolume#1", "ModifyInstanceAttribute#1"])
    # Every reply of CreateVolume is lost: what it made is seen all the same.
    errors = attach(account).errors
    slow.set(lose_reply=[])
    assert all("CreateVolume" in str(error) for error in errors.values())
    assert attach(account).errors == {}
    assert volumes(account) == every(account)


@pytest.mark.parametrize("action", ["AttachVolume", "ModifyInstanceAttribute"])
def test_destroy_leaves_no_volume_of_an_interrupted_attach(
    account: Account, slow: Cloud, tmp_path: Path, action: str
) -> None:
    account.launch(roles=ROLES)
    slow.set(refuse=[{"action": action, "code": "UnauthorizedOperation"}])
    attach(account)
    slow.set(refuse=[])
    account.elsewhere(tmp_path / "other").destroy()
    assert volumes(account) == []


def test_destroy_waits_for_a_volume_that_is_still_being_made(account: Account, slow: Cloud) -> None:
    account.launch(roles=ROLES)
    slow.set(refuse=[{"action": "AttachVolume", "code": "UnauthorizedOperation"}], volume_s=2.0)
    # It fails at the first volume that is ready; the destroy meets one that is not.
    attach(account)
    slow.set(refuse=[], volume_s=3.0)
    account.destroy()
    assert volumes(account) == []


def test_a_volume_whose_node_is_gone_is_removed_by_the_next_attach(
    account: Account, slow: Cloud
) -> None:
    account.launch(roles=ROLES)
    slow.set(refuse=[{"action": "AttachVolume", "code": "UnauthorizedOperation"}])
    attach(account)
    slow.set(refuse=[])
    account.cloud.interrupt(workers(account)[0])
    account.launch(roles=ROLES)
    attach(account)
    assert volumes(account) == every(account)


def test_another_size_is_no_second_volume(account: Account, slow: Cloud) -> None:
    account.launch(roles=ROLES)
    attach(account)
    swaps = attach(account, roles={"manager": 1, "workers": {"count": 2, "swap": 5}})
    assert {swap.gib for swap in swaps.volumes.values()} == {3}
    assert volumes(account) == every(account)


def test_no_swap_in_the_configuration_says_what_to_write(account: Account) -> None:
    account.launch()
    with pytest.raises(UsageError, match="no role that has nodes has swap") as caught:
        attach(account, roles={"manager": 1, "workers": 2})
    assert "swap: 8" in caught.value.hint
