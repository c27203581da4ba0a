"""A launch that cannot succeed says why, and leaves nothing behind."""

import os
import secrets
import shutil
import signal
import socket
import subprocess

import pytest
from seen import processes_naming, ssh, sshd_of, until

from cloister.cluster.lifecycle import destroy, launch, observe, open_cluster
from cloister.config.spec import ClusterSpec
from cloister.errors import CloisterError, PartlyDone, ProviderError
from cloister.providers.local import provider, sshd, starting


@pytest.fixture
def name(tmp_path):
    name = f"fail-{secrets.token_hex(4)}"
    yield name
    destroy(name, state=tmp_path)


def spec(name, count=2, **local):
    return ClusterSpec.model_validate({"name": name, "roles": {"w": count}, "local": local})


def nothing_is_left(name, state):
    return not observe(name, state=state).exists and not processes_naming(str(state))


def test_a_port_that_somebody_listens_on_everywhere_is_named_with_its_owner(name, tmp_path):
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ProviderError) as caught:
            launch(spec(name, port=port), state=tmp_path)
    assert f"port {port}" in caught.value.message
    assert f"process {os.getpid()}" in caught.value.message
    assert nothing_is_left(name, tmp_path)


def test_addresses_that_somebody_listens_on_are_not_taken(name, tmp_path):
    network = f"127.{secrets.randbelow(60) + 2}.{secrets.randbelow(250)}.0/29"
    busy = [network.replace("0/29", str(host)) for host in (1, 2, 3)]
    servers = [socket.create_server((address, 0)) for address in busy]
    try:
        with pytest.raises(ProviderError, match=r"only 4 of its addresses are free; on .* listens"):
            launch(spec(name, 5, network=network), state=tmp_path)
        assert nothing_is_left(name, tmp_path)
        cluster = launch(spec(name, 4, network=network), state=tmp_path)
        assert not {node.address for node in cluster.nodes} & set(busy)
    finally:
        for server in servers:
            server.close()


def test_a_network_that_is_not_this_machine_is_refused(name, tmp_path):
    with pytest.raises(ProviderError, match=r"10.0.0.0/8' is not a part of 127.0.0.0/8"):
        launch(spec(name, network="10.0.0.0/8"), state=tmp_path)
    assert nothing_is_left(name, tmp_path)


def test_two_clusters_do_not_share_an_address(name, tmp_path):
    network = f"127.{secrets.randbelow(60) + 2}.{secrets.randbelow(250)}.0/29"
    other = f"{name}-b"
    try:
        first = launch(spec(name, 3, network=network), state=tmp_path)
        second = launch(spec(other, 3, network=network), state=tmp_path)
        assert not {n.address for n in first.nodes} & {n.address for n in second.nodes}
    finally:
        destroy(other, state=tmp_path)


def test_without_sshd_the_package_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sshd, "_SBIN", "")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProviderError) as caught:
        launch(spec(name), state=tmp_path)
    assert "openssh-server" in caught.value.hint
    assert nothing_is_left(name, tmp_path)


def test_an_sshd_that_ends_at_once_shows_the_end_of_its_log(name, tmp_path, monkeypatch):
    def broken(machine, cluster, node, uid):
        return "NoSuchOption yes\n"

    monkeypatch.setattr(provider, "sshd_config", broken)
    with pytest.raises(ProviderError, match="NoSuchOption"):
        launch(spec(name), state=tmp_path)
    assert nothing_is_left(name, tmp_path)


def test_a_failed_launch_undoes_only_what_it_began(name, tmp_path, monkeypatch):
    launch(spec(name, 1), state=tmp_path)
    monkeypatch.setattr(starting, "sshd_arguments", lambda machine, folder: ["/bin/false"])
    with pytest.raises(ProviderError, match="ended at once"):
        launch(spec(name, 3), state=tmp_path)
    monkeypatch.undo()
    cluster = open_cluster(name, state=tmp_path)
    assert [node.name for node in cluster.nodes] == ["w1"]
    assert ssh(cluster, "w1", "echo alive").stdout == "alive\n"


def test_a_program_that_cannot_be_started_is_an_error(name, tmp_path, monkeypatch):
    monkeypatch.setattr(starting, "sshd_arguments", lambda machine, folder: ["/no/sshd"])
    with pytest.raises(ProviderError, match=r"w[12]: .*No such file"):
        launch(spec(name), state=tmp_path)
    assert nothing_is_left(name, tmp_path)


def test_a_full_disk_is_said_and_nothing_is_left(name, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root and the right to mount")
    try:
        with pytest.raises(ProviderError, match="No space left on device") as caught:
            launch(spec(name, 20), state=disk)
        assert "CLOISTER_STATE" in caught.value.hint
        assert nothing_is_left(name, disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_state_folder_that_cannot_be_written_is_an_error(name, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(CloisterError, match=r"Not a directory|File exists"):
        launch(spec(name), state=file)


def test_a_node_killed_by_hand_is_seen_and_replaced(name, tmp_path):
    cluster = launch(spec(name), state=tmp_path)
    os.kill(sshd_of(cluster, "w1"), signal.SIGKILL)
    until(lambda: observe(name, state=tmp_path).nodes[0].state == "dead")
    assert observe(name, state=tmp_path).nodes[0].detail == "its sshd is gone"
    with pytest.raises(PartlyDone, match="w1: dead, its sshd is gone"):
        open_cluster(name, state=tmp_path)
    half = open_cluster(name, state=tmp_path, allow_dead=True)
    assert [node.name for node in half.nodes] == ["w2"]
    kept = sshd_of(cluster, "w2")
    again = launch(spec(name), state=tmp_path)
    assert ssh(again, "w1", "echo back").stdout == "back\n"
    assert sshd_of(again, "w2") == kept


def test_a_node_whose_sshd_is_stopped_says_so(name, tmp_path):
    cluster = launch(spec(name, 1), state=tmp_path)
    os.kill(sshd_of(cluster, "w1"), signal.SIGSTOP)
    until(lambda: "SIGSTOP" in observe(name, state=tmp_path).nodes[0].detail)


def test_damaged_records_do_not_stop_destroy(name, tmp_path):
    cluster = launch(spec(name), state=tmp_path)
    (cluster.folder / "cluster.json").write_text("{")
    (cluster.folder / "nodes" / "w1" / "node.json").write_text("")
    shutil.rmtree(cluster.folder / "nodes" / "w2")
    destroy(name, state=tmp_path)
    assert nothing_is_left(name, tmp_path)


def test_observing_creates_nothing(tmp_path):
    state = tmp_path / "state"
    observe("nothing", state=state)
    assert not state.exists()
