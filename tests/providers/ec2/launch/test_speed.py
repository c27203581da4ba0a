"""How fast and with how many calls: AWS's published rates and boot times, instances without sshds.

A node's own boot time is what the cloud itself says: from being launched to its SSH port being open. All
of it and all of ours is real time; benchmarks/launching.py has AWS take its time for each call as well.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud.client import Call, Cloud
from ec2_account import Account

from cloister.cluster.lifecycle import quote
from cloister.plan.launching import launch_plan
from cloister.providers.provider import NodeEvent

# pending → running, and running → the SSH port is open; in seconds.
BOOT_S, SSH_AFTER_S = (5.0, 17.0), (3.0, 20.0)
RATIO_MAX = 1.15


class Timed:
    """What became of a launch. `ready_s`: when each node was reported, by the wall clock."""

    def __init__(self, account: Account, count: int) -> None:
        cloud, self.ready_s = account.cloud, dict[str, list[float]]()
        # What is slow once in a simulation's life and not on AWS: moto reads its tables.
        spec = account.spec(roles={"workers": count})
        quote(launch_plan(spec, account.observe()), spec, state=account.state)
        before = len(cloud.calls())
        self.began_s = time.time()
        account.launch(roles={"workers": count}, report=self._report)
        self.took_s = time.time() - self.began_s
        self.calls = cloud.calls()[before:]
        self.nodes = account.living()

    def _report(self, event: NodeEvent) -> None:
        if event.kind == "running":
            self.ready_s.setdefault(event.node, []).append(time.time())

    @property
    def all_ready_s(self) -> float:
        return max(moment for moments in self.ready_s.values() for moment in moments) - self.began_s

    @property
    def slowest_boot_s(self) -> float:
        return max(float(one["opened_s"]) - float(one["launched_s"]) for one in self.nodes)


@pytest.fixture
def account(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Account]:
    """On a cloud of its own, with so many times the published boot times."""
    dealer, scale = random.Random(1), request.param
    with Cloud.start(
        tmp_path / "cloud",
        api_only=True,
        throttle=True,
        regions=["us-east-1"],
        boot_s=[scale * dealer.uniform(*BOOT_S) for _ in range(100)],
        ssh_after_s=[scale * dealer.uniform(*SSH_AFTER_S) for _ in range(100)],
    ) as cloud:
        for name, value in cloud.variables.items():
            monkeypatch.setenv(name, value)
        yield Account(cloud, tmp_path / "state", "fast")


def actions(calls: list[Call]) -> Counter[str]:
    return Counter(call.action for call in calls)


@pytest.mark.slow
@pytest.mark.parametrize("account", [1.0], indirect=True)
def test_a_hundred_nodes_are_ready_little_later_than_the_slowest_of_them_can_be(
    account: Account,
) -> None:
    """From the command's first line on, at the published times, which leave ours five seconds on a busy machine."""
    timed = Timed(account, 100)
    ratio = timed.all_ready_s / timed.slowest_boot_s
    print(f"100 nodes ready in {timed.all_ready_s:.2f} s, {ratio:.3f} of the slowest's own boot")
    assert len(timed.nodes) == 100
    assert ratio <= RATIO_MAX
    assert actions(timed.calls)["RunInstances"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("account", [0.1], indirect=True)
def test_a_thousand_nodes_take_few_calls_and_none_for_each(account: Account) -> None:
    timed = Timed(account, 1000)
    assert timed.ready_s.keys() == {f"workers{number}" for number in range(1, 1001)}
    assert {len(moments) for moments in timed.ready_s.values()} == {1}
    assert len({node["address"] for node in timed.nodes}) == 1000
    made = actions(timed.calls)
    print(f"1000 nodes ready in {timed.all_ready_s:.2f} s, with {len(timed.calls)} calls: {made}")
    # Refused ones are among them: whoever keeps the pace has none.
    assert made["RunInstances"] <= 25
    assert made["CreateTags"] == made["ModifyInstanceAttribute"] == 0
    # About one a second while nodes are on their way, however slow this machine is.
    assert made["DescribeInstances"] <= 12 + 2 * timed.took_s
    assert sum(made.values()) - made["DescribeInstances"] <= 45
    before = len(account.cloud.calls())
    account.destroy()
    ended = actions(account.cloud.calls()[before:])
    print(f"and ended with {sum(ended.values())} calls: {ended}")
    assert ended["TerminateInstances"] == 1
    assert sum(ended.values()) <= 60
    assert account.billable() == []
