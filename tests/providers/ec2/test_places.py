"""A cluster stays one cluster when regions or credentials change between two launches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cloud.verbs import is_mutating
from ec2_account import Account

from cloister.cluster.lifecycle import destroy, launch, open_cluster
from cloister.cluster.provided import provider_of
from cloister.config.spec import ClusterSpec
from cloister.errors import ProviderError
from cloister.plan.launching import launch_plan
from cloister.providers.ec2.launch import founding
from cloister.providers.provider import Guarded

ONE = {"workers": 1}


def places(account: Account) -> dict[str, list[str]]:
    """Region → the roles of the instances that live there."""
    found: dict[str, list[str]] = {}
    for one in account.living():
        found.setdefault(one["region"], []).append(one["tags"]["cloister:roles"])
    return found


def without_region(account: Account, **changes: Any) -> ClusterSpec:
    spec = account.spec(roles=ONE, **changes)
    return spec.model_copy(update={"ec2": spec.ec2.model_copy(update={"region": None})})


def test_a_node_whose_region_has_changed_moves(account: Account) -> None:
    account.launch(roles={"workers": {"regions": {"us-east-1": 2}}})
    account.launch(roles={"workers": {"regions": {"us-east-1": 1, "eu-west-1": 1}}})
    assert places(account) == {"us-east-1": ["workers"], "eu-west-1": ["workers"]}
    account.launch(roles={"workers": {"regions": {"eu-west-1": 1}}})
    assert places(account) == {"eu-west-1": ["workers"]}


def test_a_cluster_stays_where_it_was_when_the_shell_names_another_region(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = without_region(account)
    launch(spec, state=account.state)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    calls = account.called("RunInstances")
    cluster = launch(spec, state=account.state)
    assert account.called("RunInstances") == calls
    assert [node.region for node in cluster.nodes] == ["us-east-1"]
    assert places(account) == {"us-east-1": ["workers"]}
    assert [n.region for n in open_cluster(account.name, state=account.state).nodes] == [
        "us-east-1"
    ]
    receipt = destroy(account.name, state=account.state)
    assert receipt.left == ()
    assert account.billable() == []


def test_another_machine_in_another_region_sees_the_cluster_and_does_not_double_it(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = without_region(account)
    launch(spec, state=account.state)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    other = provider_of(account.name, tmp_path / "other", spec)
    plan = launch_plan(spec, other.observe(account.name))
    assert [keep.name for keep in plan.kept] == ["workers1"]
    guarded = provider_of(account.name, tmp_path / "other", spec)
    assert isinstance(guarded, Guarded)
    assert [reach.region for reach in guarded.access(account.name)] == ["us-east-1"]
    assert plan.changes_nothing
    with pytest.raises(ProviderError, match="key pair"):
        launch(spec, state=tmp_path / "other")
    assert places(account) == {"us-east-1": ["workers"]}


@pytest.mark.parametrize("lost", [True, False], ids=["carried out", "never arrived"])
def test_what_a_killed_launch_may_have_made_elsewhere_is_ended(
    account: Account, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Killed at its launch call, of which the region is no longer wanted, nor one of the nodes."""

    def killed(self: Any, intent: Any) -> Any:
        if lost:
            self.aws.seen(intent.region, intent.action, **intent.request)
        raise KeyboardInterrupt

    # The second launch begins before AWS shows it.
    account.cloud.set(visible_after_s=1.0)
    with monkeypatch.context() as patched:
        patched.setattr("cloister.providers.ec2.launch.launching._asked", killed)
        with pytest.raises(KeyboardInterrupt):
            account.launch(roles={"workers": 2})
    try:
        with monkeypatch.context() as patched:
            patched.setattr(founding, "_fill", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                account.launch(roles={"workers": {"regions": {"eu-west-1": 1}}})
    finally:
        account.cloud.set(visible_after_s=0.0)
    assert places(account) == {}
    account.launch(roles={"workers": {"regions": {"eu-west-1": 1}}})
    assert places(account) == {"eu-west-1": ["workers"]}


@pytest.mark.parametrize("left", ["a cluster", "a record"])
def test_credentials_of_another_account_do_nothing(account: Account, left: str) -> None:
    """What is in the account of the launch would be forgotten, and run on."""
    account.launch(roles=ONE)
    if left == "a record":
        account.cloud.interrupt(account.living()[0]["id"])
        account.cloud.settle()
    path = account.state / "clusters" / account.name / "cluster.json"
    record = json.loads(path.read_text())
    assert record["account"] == "123456789012"
    path.write_text(json.dumps({**record, "account": "999999999999"}))
    before = len(account.cloud.calls())
    for command in (account.destroy, lambda: account.launch(roles=ONE)):
        with pytest.raises(
            ProviderError, match="account 999999999999, and the credentials"
        ) as caught:
            command()
        assert "AWS_PROFILE" in caught.value.hint
    assert not [call for call in account.cloud.calls()[before:] if is_mutating(call.action)]
    path.write_text(json.dumps(record))
