"""A longer lease reaches the tags, the schedules and the nodes' own timers."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud.client import Cloud
from ec2_account import Account

from cloister.cluster.lifecycle import open_cluster
from cloister.deploy.leases import extend
from cloister.errors import CloisterError, UsageError
from cloister.transport.links import Links

HOUR_S = 3600
ROLE = "arn:aws:iam::123456789012:role/cloister-schedule"


def leases(account: Account) -> list[float]:
    """Seconds until each living node ends itself."""
    return [instance["lease_s"] for instance in account.living()]


def test_every_node_ends_later_and_its_tags_say_so(
    account: Account, up: Callable[..., Any]
) -> None:
    up()
    cluster = extend(account.name, 10 * HOUR_S, state=account.state)
    assert all(10 * HOUR_S - 60 < left <= 10 * HOUR_S + 60 for left in leases(account))
    ends = {instance["tags"]["cloister:expires"] for instance in account.living()}
    assert ends == {str(cluster.expires)}
    account.cloud.advance(9 * HOUR_S)
    account.cloud.settle()
    assert len(account.living()) == 3
    account.cloud.advance(HOUR_S + 120)
    account.cloud.settle()
    assert account.living() == []


def test_by_default_the_lease_begins_anew(account: Account, up: Callable[..., Any]) -> None:
    up(ec2={"lease": "1h"})
    account.cloud.advance(HOUR_S / 2)
    extend(account.name, None, state=account.state)
    assert all(HOUR_S - 60 < left <= HOUR_S + 60 for left in leases(account))


def test_a_lease_is_not_shortened(account: Account, up: Callable[..., Any]) -> None:
    up()
    with pytest.raises(UsageError, match="ends later than that already"):
        extend(account.name, HOUR_S, state=account.state)
    assert all(left > 3 * HOUR_S for left in leases(account))


def test_nodes_that_were_not_told_are_named_and_told_the_next_time(
    account: Account, up: Callable[..., Any]
) -> None:
    up(ssh={"user": getpass.getuser(), "port": 2222, "connect_timeout": 1})
    silent = account.living()[0]["id"]
    account.cloud.freeze(silent)
    try:
        with pytest.raises(CloisterError, match="1 of 3 nodes were not told") as caught:
            extend(account.name, 9 * HOUR_S, state=account.state)
    finally:
        account.cloud.thaw(silent)
    assert "`cloister extend` again" in caught.value.hint
    assert sorted(left > 8 * HOUR_S for left in leases(account)) == [False, True, True]
    extend(account.name, 9 * HOUR_S + 5, state=account.state)
    assert all(left > 8 * HOUR_S for left in leases(account))


def test_a_launch_near_the_end_of_the_lease_tells_the_nodes_that_are_there(
    account: Account, up: Callable[..., Any]
) -> None:
    up(ec2={"lease": "5m"})
    up(ec2={"lease": "4h"})
    assert len(account.living()) == 3
    assert all(left > 3 * HOUR_S for left in leases(account))


@pytest.mark.parametrize(
    ("budget", "message"),
    [({"hours_max": 5}, "hours_max is 5"), ({"dollars_max": 2}, r"the budget is \$2")],
)
def test_a_budget_refuses_a_longer_lease_and_nothing_changes(
    account: Account, up: Callable[..., Any], budget: dict[str, float], message: str
) -> None:
    up(ec2={"budget": budget})
    before = account.called("CreateTags")
    with pytest.raises(UsageError, match=message):
        extend(account.name, 20 * HOUR_S, state=account.state)
    assert account.called("CreateTags") == before
    assert all(left < 5 * HOUR_S for left in leases(account))


def test_a_budget_refuses_a_launch_that_would_renew_the_lease(
    account: Account, up: Callable[..., Any]
) -> None:
    changes = {"ec2": {"lease": "1h", "budget": {"hours_max": 1}}}
    up(**changes)
    account.retag({"cloister:expires": str(int(time.time()) + 300)})
    with pytest.raises(UsageError, match=r"another lease: the cluster would be 1\.00 h old"):
        up(**changes)
    assert account.expires() < time.time() + 400


def test_no_time_at_all_is_a_shorter_lease(account: Account, up: Callable[..., Any]) -> None:
    up(ec2={"lease": "1h"})
    with pytest.raises(UsageError, match="ends later than that already"):
        extend(account.name, 0.0, state=account.state)


def test_a_local_cluster_has_no_lease(local_cluster: Callable[..., Any]) -> None:
    cluster = local_cluster(1)
    with pytest.raises(UsageError, match="not on EC2"):
        extend(cluster.name, HOUR_S, state=cluster.folder.parent.parent)


# --- the schedule --------------------------------------------------------------------------------


def schedules(account: Account) -> list[str]:
    return [line for line in account.billable() if " schedule " in line]


@pytest.fixture
def scheduled(account: Account, up: Callable[..., Any]) -> Iterator[Account]:
    up(ec2={"schedule_role": ROLE})
    yield account


def test_a_schedule_ends_nodes_that_do_not_end_themselves(scheduled: Account) -> None:
    assert len(schedules(scheduled)) == 1
    # As guests whose shutdown hangs.
    cluster = open_cluster(scheduled.name, state=scheduled.state)
    with Links(marks=cluster.marks) as links:
        links.run(cluster.nodes, "shutdown -c").raise_first()
    scheduled.cloud.advance(4 * HOUR_S + 600)
    scheduled.cloud.settle()
    assert scheduled.living() == []
    assert schedules(scheduled) == []


def test_a_longer_lease_moves_the_schedule(scheduled: Account) -> None:
    before = schedules(scheduled)
    extend(scheduled.name, 10 * HOUR_S, state=scheduled.state)
    assert len(schedules(scheduled)) == 1
    assert schedules(scheduled) != before
    scheduled.cloud.advance(5 * HOUR_S)
    scheduled.cloud.settle()
    assert len(scheduled.living()) == 3
    scheduled.cloud.advance(6 * HOUR_S)
    scheduled.cloud.settle()
    assert schedules(scheduled) == []


def test_destroy_removes_the_schedule(scheduled: Account, tmp_path: Path) -> None:
    receipt = scheduled.elsewhere(tmp_path / "other").destroy()
    assert any(thing.startswith("schedule cloister-") for thing in receipt.removed)
    assert schedules(scheduled) == []


def test_without_the_permission_there_is_no_schedule_and_it_is_said(
    account: Account, up: Callable[..., Any], cloud: Cloud
) -> None:
    cloud.set(refuse=[{"action": "CreateSchedule", "code": "AccessDeniedException"}])
    try:
        up(ec2={"schedule_role": ROLE})
    finally:
        cloud.set(refuse=[])
    assert "no schedule in us-east-1" in " ".join(account.said("launching"))
    assert len(account.living()) == 3
    assert schedules(account) == []
