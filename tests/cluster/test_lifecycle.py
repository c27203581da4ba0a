import json
import secrets
import threading
import time
import types

import pytest

from cloister.cluster import lifecycle
from cloister.cluster.lifecycle import destroy, launch, open_cluster
from cloister.cluster.listing import listing
from cloister.cluster.state import state_folder
from cloister.config.spec import ClusterSpec
from cloister.errors import Busy, CloisterError, ProviderError, UsageError
from cloister.plan.observed import Observed


@pytest.fixture
def spec(tmp_path):
    name = f"life-{secrets.token_hex(4)}"
    roles = {"manager": 1, "master": {"same_as": "manager"}, "workers": 2}
    yield ClusterSpec.model_validate({"name": name, "roles": roles})
    destroy(name, state=tmp_path)


def test_a_cluster_is_launched_opened_listed_and_destroyed(spec, tmp_path):
    launched = launch(spec, state=tmp_path)
    assert [node.name for node in launched.nodes] == ["manager1", "workers1", "workers2"]
    assert launched.nodes[0].roles == ("manager", "master")
    assert open_cluster(None, state=tmp_path) == launched
    assert open_cluster(spec.name, state=tmp_path) == launched
    assert [entry.name for entry in listing(tmp_path).clusters] == [spec.name]
    data = json.loads((launched.folder / "nodes.json").read_text())
    assert [entry["address"] for entry in data] == [node.address for node in launched.nodes]
    receipt = destroy(None, state=tmp_path)
    assert receipt.found == receipt.removed
    assert "node workers2" in receipt.removed
    assert "nothing left" in receipt.describe()
    assert listing(tmp_path).clusters == ()
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_roles_may_change_without_touching_the_nodes(spec, tmp_path):
    before = launch(spec, state=tmp_path)
    roles = {"manager": 1, "driver": {"same_as": "workers"}, "workers": 2}
    after = launch(ClusterSpec.model_validate({"name": spec.name, "roles": roles}), state=tmp_path)
    assert after.nodes[1].roles == ("workers", "driver")
    assert [node.address for node in after.nodes] == [node.address for node in before.nodes]
    assert open_cluster(spec.name, state=tmp_path) == after


def test_a_cluster_launched_again_has_the_same_addresses(spec, tmp_path):
    first = launch(spec, state=tmp_path)
    destroy(spec.name, state=tmp_path)
    second = launch(spec, state=tmp_path)
    assert [node.address for node in first.nodes] == [node.address for node in second.nodes]
    assert first.uid != second.uid


def test_opening_what_does_not_exist_says_what_to_do(tmp_path):
    for name in ("nothing", None):
        with pytest.raises(CloisterError) as caught:
            open_cluster(name, state=tmp_path)
        assert "cloister launch" in caught.value.hint


def test_destroying_nothing_is_no_error_and_creates_nothing_that_stays(tmp_path):
    assert destroy("nothing", state=tmp_path).describe() == "nothing: nothing found, nothing left"
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_without_a_name_several_clusters_are_a_question(spec, tmp_path):
    launch(spec, state=tmp_path)
    other = f"{spec.name}-b"
    try:
        launch(ClusterSpec.model_validate({"name": other, "roles": {"w": 1}}), state=tmp_path)
        with pytest.raises(UsageError, match="several clusters"):
            destroy(None, state=tmp_path)
    finally:
        destroy(other, state=tmp_path)


def test_a_name_that_is_a_path_is_refused(tmp_path):
    for name in ("../x", "", "a/b", "A"):
        with pytest.raises(UsageError, match="not a name"):
            destroy(name, state=tmp_path)


def test_a_cluster_of_no_nodes_is_refused(tmp_path):
    with pytest.raises(UsageError, match="asks for no nodes"):
        launch(ClusterSpec(name="empty"), state=tmp_path)
    assert listing(tmp_path).clusters == ()


def test_two_launches_at_once_make_one_cluster(spec, tmp_path):
    results, said = [], []

    def work():
        results.append(launch(spec, state=tmp_path, wait_s=60, say=said.append))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert results[0] == results[1] == results[2]
    assert any("waiting for" in text for text in said)


def test_a_second_command_that_cannot_wait_is_told(spec, tmp_path, monkeypatch):
    entered, leave = threading.Event(), threading.Event()

    def slow(*args):
        entered.set()
        assert leave.wait(30)
        return original(*args)

    original = lifecycle._settled
    monkeypatch.setattr(lifecycle, "_settled", slow)
    thread = threading.Thread(target=launch, args=(spec,), kwargs={"state": tmp_path})
    thread.start()
    try:
        assert entered.wait(10)
        with pytest.raises(Busy, match="cloister launch"):
            destroy(spec.name, state=tmp_path, wait_s=0)
    finally:
        leave.set()
        thread.join()


def test_the_state_folder_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLOISTER_STATE", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_folder() == tmp_path / ".local/state/cloister"
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert str(state_folder()) == "/x/cloister"
    monkeypatch.setenv("CLOISTER_STATE", "/y")
    assert str(state_folder()) == "/y"


def test_a_state_folder_behind_a_link_is_the_same_one(spec, tmp_path):
    link = tmp_path / "link"
    (tmp_path / "real").mkdir()
    link.symlink_to("real")
    try:
        launch(spec, state=link)
        assert len(open_cluster(spec.name, state=tmp_path / "real").nodes) == 3
    finally:
        destroy(spec.name, state=link)


def test_a_hundred_nodes_take_seconds(tmp_path):
    name = f"many-{secrets.token_hex(4)}"
    spec = ClusterSpec.model_validate({"name": name, "roles": {"w": 100}})
    try:
        began = time.monotonic()
        assert len(launch(spec, state=tmp_path).nodes) == 100
        assert time.monotonic() - began < 20
    finally:
        assert len(destroy(name, state=tmp_path).removed) == 101


class Shows:
    """A provider that shows a cluster in so many looks, however often it is removed."""

    def __init__(self, looks):
        self.looks, self.removals = looks, 0

    def observe(self, name, *, everywhere=False):
        self.looks -= 1
        left = ("key pair k",) if self.looks >= 0 else ()
        return Observed(name=name, provider="local", leftovers=left)

    def apply(self, plan, report):
        self.removals += 1


def destroyed(shows, tmp_path, monkeypatch):
    """The receipt, or the error; and what was said and how long was waited on the way."""
    said, waited = [], []
    monkeypatch.setattr(lifecycle, "provider_of", lambda *_: shows)
    clock = types.SimpleNamespace(sleep=waited.append, monotonic=time.monotonic)
    monkeypatch.setattr(lifecycle, "time", clock)
    try:
        return destroy("shown", state=tmp_path, say=said.append), said, sum(waited)
    except ProviderError as error:
        return error, said, sum(waited)


def test_what_is_shown_for_a_while_after_it_was_removed_is_removed_again(tmp_path, monkeypatch):
    receipt, said, waited_s = destroyed(shows := Shows(3), tmp_path, monkeypatch)
    assert (receipt.found, receipt.removed, receipt.left) == (("key pair k",), ("key pair k",), ())
    assert shows.removals == 3
    assert said == []
    assert waited_s < 1


def test_what_never_goes_is_told_and_fails(tmp_path, monkeypatch):
    error, said, waited_s = destroyed(Shows(1000), tmp_path, monkeypatch)
    assert error.message == "destroying cluster shown: still there: key pair k"
    assert said[0] == "still there of shown: key pair k; removed again in 1 s"
    assert 60 < waited_s < 120
