"""Whatever was started on a node ends with it, and nothing else does."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from seen import is_alive, processes_naming, ssh, sshd_of, until

from cloister.cluster.lifecycle import destroy, launch, observe
from cloister.config.spec import ClusterSpec

# Each leaves a process behind whose id it writes to the file $HOME/pid.
STRAYS = {
    "in the background": "sleep 1000 >/dev/null 2>&1 & echo $! > pid",
    "without its mark, in a session of its own": "env -i setsid sh -c 'echo $$ > pid; exec sleep 1000' >/dev/null 2>&1 &",
    "a daemon somewhere else": 'env -i setsid sh -c \'(cd /; sleep 1000 & echo $! > "$0"/pid)\' "$HOME" >/dev/null 2>&1',
    "deaf to signals": "setsid sh -c 'trap \"\" TERM HUP INT; echo $$ > pid; while :; do sleep 0.05; done' >/dev/null 2>&1 &",
    "stopped": "sh -c 'echo $$ > pid; kill -STOP $$' >/dev/null 2>&1 &",
}


@pytest.fixture
def alone(tmp_path):
    """A cluster of two nodes for one test; its state folder and specification."""
    spec = ClusterSpec.model_validate(
        {"name": f"end-{os.getpid()}-{time.monotonic_ns() % 10**9}", "roles": {"w": 2}}
    )
    try:
        yield launch(spec, state=tmp_path), spec, tmp_path
    finally:
        destroy(spec.name, state=tmp_path)


def stray(cluster, node, how):
    assert ssh(cluster, node, STRAYS[how]).returncode == 0
    file = cluster.folder / "nodes" / node / "home" / "pid"
    until(lambda: file.exists() and file.read_text().strip())
    pid = int(file.read_text())
    file.unlink()
    assert is_alive(pid)
    return pid


def test_destroy_leaves_nothing(alone):
    cluster, spec, state = alone
    pids = [stray(cluster, "w1", how) for how in STRAYS]
    pids += [sshd_of(cluster, "w1"), sshd_of(cluster, "w2")]
    receipt = destroy(spec.name, state=state)
    assert receipt.left == ()
    assert [pid for pid in pids if is_alive(pid)] == []
    assert processes_naming(cluster.uid) == []
    assert processes_naming(str(cluster.folder)) == []
    assert not cluster.folder.exists()


def test_a_program_that_forks_all_the_time_ends(alone):
    cluster, spec, state = alone
    # Each process forks its successor and ends: no process id lives for more than milliseconds.
    script = "import os,time\nfor _ in range(20000):\n if os.fork(): os._exit(0)\n os.setsid(); time.sleep(0.001)"
    ssh(cluster, "w1", f"env -i setsid python3 -c '{script}' >/dev/null 2>&1 &")
    destroy(spec.name, state=state)
    assert not observe(spec.name, state=state).exists
    assert processes_naming("os.fork(): os._exit(0)") == []


def test_strays_end_even_when_sshd_and_warden_were_killed(alone):
    cluster, spec, state = alone
    marked = stray(cluster, "w1", "in the background")
    here = stray(cluster, "w1", "without its mark, in a session of its own")
    sshd = sshd_of(cluster, "w1")
    warden = int(Path(f"/proc/{sshd}/stat").read_text().rpartition(")")[2].split()[1])
    for pid in (warden, sshd):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(sshd) and not is_alive(warden))
    destroy(spec.name, state=state)
    assert not is_alive(marked)
    assert not is_alive(here)


def test_a_connection_that_is_open_ends(alone):
    cluster, spec, state = alone
    client = subprocess.Popen(
        ["ssh", "-F", cluster.ssh_config, "w1", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: processes_naming("CLOISTER_NODE=w1\0"))
        os.kill(sshd_of(cluster, "w1"), signal.SIGKILL)
        destroy(spec.name, state=state)
        assert client.wait(timeout=5) == 255
    finally:
        client.kill()
        client.wait()


def test_a_process_that_only_works_in_the_folder_is_nobodys_stray(alone):
    cluster, spec, state = alone
    mine = subprocess.Popen(["sleep", "1000"], cwd=cluster.folder / "nodes" / "w1" / "home")
    editor = subprocess.Popen(
        ["python3", "-c", "input()", f"{cluster.folder}/nodes/w1/sshd_config"],
        stdin=subprocess.PIPE,
    )
    try:
        destroy(spec.name, state=state)
        assert mine.poll() is None
        assert editor.poll() is None
    finally:
        for process in (mine, editor):
            process.kill()
            process.wait()
        editor.stdin.close()


def test_replacing_a_node_ends_its_strays_and_not_those_of_its_neighbour(alone):
    cluster, spec, state = alone
    strays = [stray(cluster, "w1", how) for how in ("in the background", "a daemon somewhere else")]
    neighbours = stray(cluster, "w2", "a daemon somewhere else")
    os.kill(sshd_of(cluster, "w1"), signal.SIGKILL)
    launch(spec, state=state)
    assert [pid for pid in strays if is_alive(pid)] == []
    assert is_alive(neighbours)
    assert ssh(cluster, "w1", "echo back").stdout == "back\n"


def test_files_that_nobody_may_write_are_removed(alone):
    cluster, spec, state = alone
    ssh(
        cluster,
        "w1",
        "mkdir -p a/b/c; touch a/b/c/f; ln -s /nowhere a/l; chmod 000 a/b/c; chmod 500 a/b a",
    )
    destroy(spec.name, state=state)
    assert not cluster.folder.exists()


def test_processes_are_found_even_if_the_folder_was_removed_by_hand(alone):
    import shutil

    from cloister.cluster.listing import listing

    cluster, spec, state = alone
    sshd = sshd_of(cluster, "w1")
    shutil.rmtree(cluster.folder)
    (found,) = listing(state).clusters
    assert found.name == spec.name
    assert found.observed.leftovers
    destroy(spec.name, state=state)
    assert not is_alive(sshd)


def test_a_launch_after_a_destroy_that_was_killed_while_it_stopped_everything_goes_on(alone):
    cluster, spec, state = alone
    sshd = sshd_of(cluster, "w1")
    os.kill(sshd, signal.SIGSTOP)
    until(lambda: observe(spec.name, state=state).nodes[0].detail)
    launch(spec, state=state)
    until(lambda: not observe(spec.name, state=state).nodes[0].detail)
    assert sshd_of(cluster, "w1") == sshd
    assert ssh(cluster, "w1", "echo here").stdout.strip() == "here"
