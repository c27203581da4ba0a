"""What every provider promises."""

import os
import secrets
import socket
import threading

import pytest

from cloister.config.spec import ClusterSpec
from cloister.plan.actions import Keep, Launch
from cloister.plan.launching import destroy_plan, launch_plan
from cloister.providers.provider import provider_for


class Setting:
    """One provider with a folder of its own, and specifications for it."""

    def __init__(self, kind, clusters, ports):
        self.kind, self.clusters, self._ports = kind, clusters, ports
        self.name = f"contract-{secrets.token_hex(4)}"

    def spec(self, count):
        if self.kind == "local":
            fields = {"roles": {"w": count}}
        else:
            nodes = [
                {"name": f"w{number}", "address": "127.0.0.1", "port": port, "roles": ["w"]}
                for number, port in enumerate(self._ports[:count], start=1)
            ]
            fields = {"nodes": nodes}
        return ClusterSpec.model_validate({"name": self.name, "provider": self.kind, **fields})

    def observe(self):
        return provider_for(self.kind, self.clusters).observe(self.name)

    def launch(self, count):
        spec = self.spec(count)
        plan = launch_plan(spec, self.observe())
        provider_for(self.kind, self.clusters, spec).apply(plan, lambda event: None)
        return plan

    def destroy(self):
        plan = destroy_plan(self.observe())
        provider_for(self.kind, self.clusters).apply(plan, lambda event: None)


@pytest.fixture(params=["local", "manual"])
def setting(request, tmp_path):
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    made = Setting(request.param, tmp_path / "clusters", [s.getsockname()[1] for s in servers])
    try:
        yield made
    finally:
        made.destroy()
        for server in servers:
            server.close()


def states(observed):
    return [(entry.node.name, entry.state) for entry in observed.nodes]


def test_nothing_is_observed_before_a_launch_and_nothing_created(setting):
    assert not setting.observe().exists
    assert not setting.clusters.exists()


def test_what_was_launched_is_observed_in_launch_order(setting):
    setting.launch(3)
    observed = setting.observe()
    assert states(observed) == [("w1", "running"), ("w2", "running"), ("w3", "running")]
    assert observed.uid
    assert all(entry.node.address for entry in observed.nodes)


def test_launching_twice_is_once(setting):
    setting.launch(2)
    before = setting.observe()
    plan = setting.launch(2)
    assert all(isinstance(action, Keep) for action in plan.actions)
    assert setting.observe() == before


def test_growing_and_shrinking_touch_only_the_difference(setting):
    setting.launch(2)
    first = setting.observe().nodes[0]
    plan = setting.launch(3)
    assert [action.name for action in plan.actions if isinstance(action, Launch)] == ["w3"]
    setting.launch(1)
    assert setting.observe().nodes == (first,)


def test_destroying_is_complete_and_can_be_repeated(setting):
    setting.launch(2)
    for _ in range(2):
        setting.destroy()
        assert not setting.observe().exists
    assert list(setting.clusters.iterdir()) == []


def test_destroying_needs_no_configuration_and_no_node_that_answers(setting):
    setting.launch(1)
    os.environ.pop("CLOISTER_STATE", None)
    threads = [threading.Thread(target=setting.observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    setting.destroy()
    assert not setting.observe().exists


def test_progress_is_reported_for_every_node(setting):
    spec = setting.spec(2)
    events = []
    plan = launch_plan(spec, setting.observe())
    provider_for(setting.kind, setting.clusters, spec).apply(plan, events.append)
    assert {event.node for event in events if event.kind == "running"} == {"w1", "w2"}
