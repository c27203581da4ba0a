"""Launch, observe, repair and destroy on the simulated EC2, whose instances are real SSH nodes."""

from __future__ import annotations

import dataclasses
import re
import stat
import threading
import time
from pathlib import Path

import pytest
from ec2_account import Account

from cloister.cluster.lifecycle import destroy, open_cluster, quote
from cloister.cluster.listing import listing
from cloister.cluster.provided import provider_of
from cloister.errors import ProviderError, UsageError
from cloister.plan.launching import launch_plan
from cloister.plan.planned import planned_nodes
from cloister.providers.ec2.api import Aws
from cloister.providers.ec2.money.prices import Prices, disk_per_hour
from cloister.providers.ec2.money.quoting import hourly
from cloister.providers.provider import Paid
from cloister.transport.links import Links


def names(account: Account) -> list[str]:
    return [entry.node.name for entry in account.observe().nodes]


def test_a_cluster_is_launched_with_a_call_per_role_and_its_nodes_answer(account: Account) -> None:
    before = account.called("RunInstances")
    cluster = account.launch()
    assert [node.name for node in cluster.nodes] == ["manager1", "workers1", "workers2"]
    assert account.called("RunInstances") == before + 2
    assert len(account.living()) == len(account.said("running")) == 3
    with Links(marks=cluster.marks, pin=lambda node, key: None) as links:
        outcomes = links.run(cluster.nodes, "echo here").raise_first()
    assert {outcome.stdout for outcome in outcomes.values()} == {b"here\n"}


def test_launching_again_changes_nothing(account: Account) -> None:
    account.launch()
    before = account.called("RunInstances")
    nodes = account.observe().nodes
    account.launch()
    assert account.called("RunInstances") == before
    assert account.observe().nodes == nodes


def test_a_node_that_is_gone_is_launched_anew_and_the_others_stay(account: Account) -> None:
    account.launch()
    before = {entry.node.name: entry.node.labels["instance"] for entry in account.observe().nodes}
    account.cloud.interrupt(str(before["workers1"]))
    account.launch()
    after = {entry.node.name: entry.node.labels["instance"] for entry in account.observe().nodes}
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == ["workers1"]


def test_a_larger_and_a_smaller_cluster(account: Account) -> None:
    account.launch()
    account.launch(roles={"manager": 1, "workers": 4})
    assert len(account.living()) == 5
    account.launch(roles={"manager": 1, "workers": 1})
    assert names(account) == ["manager1", "workers1"]
    assert len(account.living()) == 2


def test_destroy_from_a_machine_that_knows_nothing(account: Account, tmp_path: Path) -> None:
    account.launch()
    receipt = account.elsewhere(tmp_path / "other").destroy()
    assert receipt.left == ()
    assert {"node manager1", "node workers1", "node workers2"} <= set(receipt.removed)
    assert account.billable() == []


def test_destroy_finds_regions_that_no_configuration_names_any_more(account: Account) -> None:
    regions = {"us-east-1": 1, "eu-west-1": 1}
    account.launch(roles={"workers": {"regions": regions}})
    assert {instance["region"] for instance in account.living()} == set(regions)
    account.launch(roles={"workers": 1})
    account.destroy()
    assert account.living() == []
    assert account.billable() == []


def test_destroying_what_is_not_there_makes_nothing(account: Account) -> None:
    """The original made two world-open security groups."""
    before = len(account.cloud.billable())
    receipt = account.destroy()
    assert receipt.found == ()
    assert len(account.cloud.billable()) == before


def test_another_machine_sees_the_cluster_and_does_not_double_it(
    account: Account, tmp_path: Path
) -> None:
    account.launch()
    other = account.elsewhere(tmp_path / "other")
    assert [e.node.name for e in other.observe().nodes] == names(account)
    with pytest.raises(ProviderError, match="key pair") as caught:
        other.launch()
    assert "launched from another machine" in caught.value.hint
    assert len(account.living()) == 3


def test_two_machines_that_launch_at_once_make_one_cluster(
    account: Account, tmp_path: Path
) -> None:
    """One of them has the key; the other is told."""
    others = [account, account.elsewhere(tmp_path / "other")]
    errors: list[Exception] = []

    def launch(one: Account) -> None:
        try:
            one.launch()
        except ProviderError as error:
            errors.append(error)

    threads = [threading.Thread(target=launch, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(errors) <= 1
    assert len(account.living()) == 3
    assert names(account) == ["manager1", "workers1", "workers2"]


def test_every_file_with_a_key_is_the_users_alone(account: Account) -> None:
    cluster = account.launch()
    for path in (cluster.folder / "client_key", cluster.folder / "journal.jsonl"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_groups_let_in_this_machine_and_the_cluster_and_nobody_else(account: Account) -> None:
    account.launch(ec2={"expose": [{"port": 8080, "to": "192.0.2.0/24"}]})
    calls = [c for c in account.cloud.calls() if c.action == "AuthorizeSecurityGroupIngress"]
    text = str(calls[-1].parameters)
    assert "127.0.0.1/32" in text
    assert "192.0.2.0/24" in text
    assert "0.0.0.0/0" not in text


def test_the_nodes_of_two_regions_let_each_other_in(account: Account) -> None:
    account.launch(roles={"workers": {"regions": {"us-east-1": 1, "eu-west-1": 1}}})
    addresses = {instance["region"]: instance["address"] for instance in account.living()}
    calls = [c for c in account.cloud.calls() if c.action == "AuthorizeSecurityGroupIngress"]
    for region, other in (("us-east-1", "eu-west-1"), ("eu-west-1", "us-east-1")):
        let_in = [str(c.parameters) for c in calls if c.region == region]
        assert any(f"{addresses[other]}/32" in text for text in let_in)


def test_access_is_refreshed_when_the_address_has_changed(account: Account) -> None:
    account.launch(ec2={"access": ["192.0.2.1/32"]})
    account.launch(ec2={"access": ["192.0.2.2/32"]})
    last = account.cloud.calls()
    revoked = [c for c in last if c.action == "RevokeSecurityGroupIngress"]
    assert "192.0.2.1/32" in str(revoked[-1].parameters)


def test_no_room_in_a_zone_or_for_a_type_is_climbed_past_and_said(account: Account) -> None:
    account.cloud.set(
        capacity={"us-east-1a/*/*": 1, "us-east-1b/*/*": 0, "*/c7i.large/*": 2, "*/m7i.large/*": 5}
    )
    try:
        account.launch(ec2={"machine": ["c7i.large", "m7i.large"]}, roles={"workers": 3})
    finally:
        account.cloud.set(capacity={})
    assert len(account.living()) == 3
    said = " ".join(account.said("launching"))
    assert "no room for c7i.large (on-demand) in us-east-1b: InsufficientInstanceCapacity" in said


def test_when_nothing_is_left_what_was_tried_is_said_and_launch_continues(account: Account) -> None:
    account.cloud.set(capacity={"*/*/*": 2})
    try:
        with pytest.raises(ProviderError, match=r"no capacity left; tried c7i\.large"):
            account.launch(roles={"workers": 3})
    finally:
        account.cloud.set(capacity={})
    assert len(account.living()) == 2
    account.launch(roles={"workers": 3})
    assert len(account.living()) == 3


def test_a_quota_is_named(account: Account) -> None:
    account.cloud.set(vcpu_limit=1)
    try:
        with pytest.raises(ProviderError, match="VcpuLimitExceeded") as caught:
            account.launch()
    finally:
        account.cloud.set(vcpu_limit=None)
    assert "L-1216C47A" in caught.value.hint


@pytest.mark.parametrize("failing", ["fails_at_launch", "never_boots"])
def test_a_node_that_never_comes_is_replaced(account: Account, failing: str) -> None:
    number = len(account.cloud.instances()) + 1
    account.cloud.set(**{failing: [number]})
    try:
        account.launch(
            roles={"workers": 2}, ec2={"boot_within": 2 if failing == "never_boots" else 30}
        )
    finally:
        account.cloud.set(**{failing: []})
    assert len(account.living()) == 2
    assert len(account.said("failed")) == 1
    assert "it is replaced" in account.said("failed")[0]


def test_a_placement_group_goes_with_the_cluster(account: Account) -> None:
    account.launch(ec2={"placement": "cluster"})
    assert len([line for line in account.billable() if "placement" in line]) == 2


def test_spot_nodes(account: Account) -> None:
    account.launch(ec2={"market": "spot"})
    assert {instance["market"] for instance in account.living()} == {"spot"}


def test_each_node_ends_itself_when_the_lease_is_over(account: Account) -> None:
    account.launch(ec2={"lease": "1h"})
    leases = [instance["lease_s"] for instance in account.living()]
    assert all(3400 < lease <= 3660 for lease in leases), leases
    account.cloud.advance(3700)
    account.cloud.settle()
    assert account.living() == []


def test_credentials_that_have_expired_say_what_to_do(account: Account) -> None:
    account.cloud.set(expired=True)
    try:
        with pytest.raises(ProviderError) as caught:
            account.launch()
    finally:
        account.cloud.set(expired=False)
    assert "sign in again" in caught.value.hint
    assert account.living() == []


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"hours_max": 2}, "the lease is 4 h, the budget's hours_max is 2"),
        ({"dollars_max": 0.5}, r"the budget is \$0.5"),
    ],
)
def test_a_launch_beyond_the_budget_is_refused_before_anything_is_made(
    account: Account, budget: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        account.launch(ec2={"budget": budget})
    assert account.billable() == []
    spec = account.spec(ec2={"budget": budget})
    *_, last = quote(launch_plan(spec, account.observe()), spec, state=account.state)
    assert re.match(f"  a launch is refused: .*{message}", last)


def test_where_nobody_answers_nothing_that_was_there_is_ended(account: Account) -> None:
    account.launch()
    living = {one["id"] for one in account.living()}
    for one in account.living():
        account.cloud.pause(one["id"])
    try:
        with pytest.raises(ProviderError, match="none of the nodes answers") as caught:
            account.launch(ec2={"boot_within": "3s"})
    finally:
        for one in living:
            account.cloud.resume(one)
    assert "access refresh" in caught.value.hint
    assert {one["id"] for one in account.living()} == living
    account.launch()
    assert {one["id"] for one in account.living()} == living


def test_nodes_behind_a_gateway_are_ready_when_they_run(account: Account) -> None:
    account.cloud.set(ssh_after_s=3600.0)
    try:
        account.launch(
            ssh={"user": "me", "port": 2222, "gateway": "hop.example"}, ec2={"boot_within": "20s"}
        )
    finally:
        account.cloud.set(ssh_after_s=0.05)
    assert len(account.living()) == len(account.said("running")) == 3


def test_a_placement_group_of_another_kind_is_not_taken(account: Account) -> None:
    account.launch(ec2={"placement": "cluster"}, roles={"workers": 1})
    with pytest.raises(ProviderError, match="is a cluster group, not a spread one"):
        account.launch(ec2={"placement": "spread"}, roles={"workers": 2})
    assert len(account.living()) == 1


def test_more_nodes_elsewhere_than_a_group_has_rules_are_refused_before_anything_is_made(
    account: Account,
) -> None:
    regions = {"us-east-1": 40, "eu-west-1": 60}
    with pytest.raises(UsageError, match="would need 62 rules"):
        account.launch(roles={"workers": {"regions": regions}})
    assert account.billable() == []


def test_roles_in_another_order_do_not_shorten_the_lease(account: Account) -> None:
    first = {"a": {"regions": {"us-east-1": 1}}, "b": {"regions": {"eu-west-1": 1}}}
    account.launch(roles=first)
    longer = int(time.time()) + 8 * 3600
    account.retag({"cloister:expires": str(longer)})
    again = account.launch(roles=dict(reversed(first.items())))
    assert again.expires == longer


@pytest.mark.parametrize(
    "choice", [{"machine": ["c7i.large", "c7i.24xlarge"]}, {"market": ["spot", "on-demand"]}]
)
def test_a_budget_is_for_the_dearest_of_what_may_be_launched(
    account: Account, choice: dict[str, list[str]]
) -> None:
    first = {key: values[:1] for key, values in choice.items()}
    spec = account.spec(ec2=first)
    prices = Prices(Aws(region="us-east-1"), account.state)
    nodes = [dataclasses.replace(n, region="us-east-1") for n in planned_nodes(spec)]
    per_hour, _ = hourly(spec, nodes, prices)
    budget = {"dollars_max": 1.2 * 4 * per_hour}
    with pytest.raises(UsageError, match="the budget is"):
        account.launch(ec2={"budget": budget, **choice})
    assert account.billable() == []
    account.launch(ec2={"budget": budget, **first})


def test_disks_are_paid_for_as_they_are_configured(account: Account) -> None:
    account.launch(ec2={"disk": 2000})
    provider = provider_of(account.name, account.state)
    assert isinstance(provider, Paid)
    bill = provider.bill(account.name)
    assert bill is not None and bill.dollars_per_hour is not None
    assert bill.dollars_per_hour > 3 * disk_per_hour(2000)


def test_a_known_cluster_is_destroyed_without_any_region_of_the_environment(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.launch()
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    receipt = destroy(account.name, state=account.state)
    assert receipt.found == receipt.removed
    assert receipt.bill is not None and receipt.bill.dollars is not None
    monkeypatch.undo()
    for name, value in account.cloud.variables.items():
        monkeypatch.setenv(name, value)


def test_an_unknown_price_is_said_and_refused_by_a_budget(account: Account) -> None:
    spec = account.spec(ec2={"machine": "r5.2xlarge", "budget": {"dollars_max": 100}})
    lines = quote(launch_plan(spec, account.observe()), spec, state=account.state)
    assert "does not tell the price of: r5.2xlarge (on-demand) in us-east-1" in lines[-2]
    assert lines[-1].startswith("  a launch is refused: the budget is $100, but AWS does not tell")
    with pytest.raises(UsageError, match="does not tell the price"):
        account.launch(ec2={"machine": "r5.2xlarge", "budget": {"dollars_max": 100}})


def test_the_plan_tells_machines_images_calls_and_price_and_makes_nothing(account: Account) -> None:
    before = account.cloud.billable()
    spec = account.spec()
    text = "\n".join(quote(launch_plan(spec, account.observe()), spec, state=account.state))
    assert "2 × c7i.large (on-demand) for workers in us-east-1: image ami-" in text
    assert "2 launch calls" in text
    # Three machines at $0.08925 with an address of $0.005 each.
    assert f"${3 * (0.08925 + 0.005):.4f} per hour" in text
    assert f"prices of {time.strftime('%Y-%m-%d')}" in text
    assert account.cloud.billable() == before


def test_ls_shows_the_clusters_of_the_account_from_anywhere_with_what_they_cost(
    account: Account, tmp_path: Path
) -> None:
    account.launch()
    found = {e.name: e for e in listing(tmp_path / "other", provider="ec2").clusters}
    assert len(found[account.name].observed.nodes) == 3
    paid = found[account.name].bill
    assert paid is not None and paid.dollars is not None and paid.dollars_per_hour is not None
    assert paid.dollars_per_hour == pytest.approx(3 * (0.08925 + 0.005))
    assert 0 < paid.dollars < 0.1
    assert paid.expires > paid.since + 3600


def test_the_bill_of_a_receipt_is_near_what_the_cloud_asks_for(account: Account) -> None:
    before = account.cloud.dollars()
    account.launch()
    account.cloud.advance(3600)
    receipt = account.destroy()
    assert receipt.bill is not None and receipt.bill.dollars is not None
    assert receipt.bill.dollars == pytest.approx(account.cloud.dollars() - before, rel=0.1)


def test_a_changed_host_key_is_not_accepted(account: Account) -> None:
    cluster = account.launch()
    node = dataclasses.replace(
        cluster.nodes[0],
        host_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGTBsh1Z7vMQ3bTGSqIcndkrkfh4gx5zHasC9hwcmrE0",
    )
    with Links(marks={}) as links:
        errors = links.run([node], "true").errors
    assert "host key" in str(errors[node.name])


def test_an_open_cluster_knows_how_its_nodes_were_configured(account: Account) -> None:
    account.launch(work_folder="elsewhere")
    cluster = open_cluster(account.name, state=account.state)
    assert {node.work_folder for node in cluster.nodes} == {"elsewhere"}
    assert {node.port for node in cluster.nodes} == {2222}
