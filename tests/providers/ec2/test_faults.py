"""What goes wrong on EC2, and what cloister makes of it: each error code that AWS documents for a launch."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cloud.using import eventually
from ec2_account import Account

from cloister.cluster.lifecycle import open_cluster
from cloister.errors import HostKeyChanged, ProviderError
from cloister.transport.links import Links

ONE = {"workers": 1}


def refusing(action: str, code: str, nth: int | None = None, status: int = 400) -> dict[str, Any]:
    return {"action": action, "nth": nth, "code": code, "status": status}


NO_ROOM = {
    "InsufficientInstanceCapacity": 500,
    "InsufficientHostCapacity": 500,
    "InsufficientReservedInstanceCapacity": 500,
    "InsufficientFreeAddressesInSubnet": 400,
    "SpotMaxPriceTooLow": 400,
    "Unsupported": 400,
}
# (action, code, status): each call of the action meets the next of its codes, and then none any more.
PASSING = [
    ("RunInstances", "RequestLimitExceeded", 503),
    ("RunInstances", "Throttling", 400),
    ("RunInstances", "InternalError", 500),
    ("RunInstances", "ServiceUnavailable", 503),
    ("RunInstances", "IdempotentInstanceTerminated", 400),
    ("RunInstances", "InvalidGroup.NotFound", 400),
    ("RunInstances", "InvalidKeyPair.NotFound", 400),
    ("DescribeInstances", "RequestLimitExceeded", 503),
    ("DescribeInstances", "InternalError", 500),
    ("CreateSecurityGroup", "Throttling", 400),
    ("ImportKeyPair", "Unavailable", 503),
    ("AuthorizeSecurityGroupIngress", "InternalFailure", 500),
    ("TerminateInstances", "InternalError", 500),
    ("TerminateInstances", "RequestLimitExceeded", 503),
    ("DeleteSecurityGroup", "DependencyViolation", 400),
    ("DeleteSecurityGroup", "RequestLimitExceeded", 503),
]
STOPPING = {
    "VcpuLimitExceeded": "L-1216C47A",
    "InstanceLimitExceeded": "L-1216C47A",
    "MaxSpotInstanceCountExceeded": "L-34B43A08",
    "IdempotentParameterMismatch": "`cloister destroy`, then `cloister launch`",
    "InvalidAMIID.NotFound": "`cloister plan` looks for it again",
    "InvalidParameterCombination": "`cloister doctor --aws` tries the launch",
    "InvalidBlockDeviceMapping": "raise ec2.disk",
    "UnauthorizedOperation": "`cloister doctor --aws` tries every call",
    "PendingVerification": "AWS is still verifying this account",
}


def test_no_room_is_climbed_past_and_said(account: Account) -> None:
    account.cloud.set(
        refuse=[
            refusing("RunInstances", code, nth, status)
            for nth, (code, status) in enumerate(NO_ROOM.items(), 1)
        ]
    )
    try:
        account.launch(roles=ONE, ec2={"machine": ["c7i.large", "m7i.large", "t3.large"]})
    finally:
        account.cloud.set(refuse=[])
    assert len(account.living()) == 1
    said = [line for line in account.said("launching") if "no room for" in line]
    assert [line.rpartition(": ")[2] for line in said] == list(NO_ROOM)


def test_what_passes_is_absorbed(account: Account) -> None:
    rules = [
        refusing(action, code, [a for a, _, _ in PASSING[:at]].count(action) + 1, status)
        for at, (action, code, status) in enumerate(PASSING)
    ]
    before = len(account.cloud.calls())
    account.cloud.set(refuse=rules)
    try:
        account.launch(roles=ONE)
        assert len(account.living()) == 1
        assert account.destroy().left == ()
    finally:
        account.cloud.set(refuse=[])
    met = {(call.action, call.error) for call in account.cloud.calls()[before:]}
    assert {(action, code) for action, code, _ in PASSING} <= met
    assert account.billable() == []


def test_what_does_not_pass_stops_the_launch_with_what_to_do(account: Account) -> None:
    for code, hint in STOPPING.items():
        before = account.called("RunInstances")
        account.cloud.set(refuse=[refusing("RunInstances", code)])
        try:
            with pytest.raises(ProviderError, match=code) as caught:
                account.launch(roles=ONE)
        finally:
            account.cloud.set(refuse=[])
        assert hint in caught.value.hint
        # It is not asked again in vain.
        assert account.called("RunInstances") == before + 1
    account.launch(roles=ONE)
    assert len(account.living()) == 1


def test_no_rate_at_all_ends_in_an_error(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloister.providers.ec2.api._PATIENCE_LAUNCHING_S", 1.0)
    account.cloud.set(refuse=[refusing("RunInstances", "RequestLimitExceeded", None, 503)])
    try:
        with pytest.raises(ProviderError, match="RequestLimitExceeded") as caught:
            account.launch(roles=ONE)
    finally:
        account.cloud.set(refuse=[])
    assert "other programs use up this account's rate" in caught.value.hint


@pytest.mark.parametrize(
    "code",
    ["Server.InsufficientInstanceCapacity", "Client.VolumeLimitExceeded", "Client.InternalError"],
)
def test_an_instance_that_goes_from_pending_to_terminated_is_replaced_with_its_reason(
    account: Account, code: str
) -> None:
    number = len(account.cloud.instances()) + 1
    account.cloud.set(fails_at_launch=[number], launch_failure=code)
    try:
        account.launch(roles=ONE)
    finally:
        account.cloud.set(fails_at_launch=[], launch_failure="Server.InternalError")
    (failed,) = account.said("failed")
    assert f"is terminated: {code}" in failed and "it is replaced" in failed
    assert len(account.living()) == 1


@pytest.mark.parametrize("failing", ["fails_at_launch", "never_boots"])
def test_when_no_node_ever_comes_the_launch_ends_and_can_be_destroyed(
    account: Account, failing: str
) -> None:
    first = len(account.cloud.instances()) + 1
    before = account.called("RunInstances")
    account.cloud.set(**{failing: list(range(first, first + 100))})
    try:
        with pytest.raises(ProviderError, match="2 nodes did not come up in 3 launches") as caught:
            account.launch(roles={"workers": 2}, ec2={"boot_within": 1})
    finally:
        account.cloud.set(**{failing: []})
    assert "`cloister destroy` ends the others" in caught.value.hint
    # Each round's token is used up by what it launched, so a round first finds out about those before it.
    assert account.called("RunInstances") == before + 1 + 2 + 3
    assert account.living() == []
    assert account.destroy().left == ()


def test_an_ssh_server_that_refuses_at_first_is_waited_for(
    account: Account, up: Callable[..., Any]
) -> None:
    account.cloud.set(ssh_refuses_first=3)
    try:
        cluster = up()
    finally:
        account.cloud.set(ssh_refuses_first=0)
    assert len(cluster.nodes) == 3
    assert account.said("failed") == []


def keys_of(address: str) -> str:
    return subprocess.run(
        ["ssh-keyscan", "-p", "2222", "-t", "ed25519", address], capture_output=True, text=True
    ).stdout


def change_host_key(account: Account, name: str) -> None:
    """As if another machine had come to stand at the node's address."""
    nodes = {entry.node.name: entry.node for entry in account.observe().nodes}
    instance = nodes[name].labels["instance"]
    (machine,) = [one for one in account.living() if one["id"] == instance]
    before = keys_of(machine["address"])
    key = Path(machine["home"]).parent / "host_key"
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    os.kill(machine["pid"], signal.SIGHUP)
    eventually(lambda: keys_of(machine["address"]) not in ("", before), "a new host key")


def test_a_changed_host_key_that_launch_meets_is_refused_with_what_to_do(
    account: Account, up: Callable[..., Any]
) -> None:
    up()
    change_host_key(account, "workers1")
    with pytest.raises(HostKeyChanged, match="workers1") as caught:
        up()
    assert caught.value.hint
    # The others are reached as before.
    cluster = open_cluster(account.name, state=account.state)
    with Links(marks=cluster.marks) as links:
        result = links.run(cluster.nodes, "true")
    assert sorted(result.errors) == ["workers1"]
