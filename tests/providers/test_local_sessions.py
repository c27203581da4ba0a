import os
import pwd
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from seen import ssh


@pytest.fixture(scope="module")
def cluster(module_cluster):
    return module_cluster(manager=1, workers=1)


@pytest.fixture(scope="module")
def home(cluster):
    return str(cluster.folder / "nodes" / "workers1" / "home")


def test_a_command_starts_in_the_home_of_its_node(cluster, home):
    assert ssh(cluster, "workers1", "pwd; echo $HOME").stdout.split() == [home, home]


def test_every_process_carries_the_mark_of_cluster_and_node(cluster):
    answer = ssh(cluster, "workers1", "echo $CLOISTER_CLUSTER $CLOISTER_NODE")
    assert answer.stdout.split() == [cluster.uid, "workers1"]


def test_a_command_reaches_the_shell_unchanged(cluster):
    text = """printf '%s|' "a  b" 'c"d' \\$x '$HOME' "$(echo "x  y")"; cat <<'E'\n$y `z`\nE"""
    assert ssh(cluster, "workers1", text).stdout == 'a  b|c"d|$x|$HOME|x  y|$y `z`\n'


@pytest.mark.parametrize(
    ("command", "status"), [("exit 7", 7), ("true", 0), ("kill -9 $$", 255), ("nonexistent", 127)]
)
def test_the_exit_status_is_the_commands(cluster, command, status):
    assert ssh(cluster, "workers1", command).returncode == status


def test_standard_input_reaches_the_command(cluster):
    assert ssh(cluster, "workers1", "cat", input="hello\n").stdout == "hello\n"


def test_a_login_shell_starts_in_the_home_and_has_a_terminal(cluster, home):
    answer = ssh(
        cluster, "workers1", flags=("-tt",), input="cd; pwd; tty; shopt login_shell; exit 3\n"
    )
    assert answer.returncode == 3
    assert f"{home}\n" in answer.stdout
    assert "/dev/pts/" in answer.stdout
    if pwd.getpwuid(os.geteuid()).pw_shell.endswith("bash"):
        assert "login_shell    \ton" in answer.stdout


def test_a_bashrc_of_the_node_is_read_once_per_command(cluster, home, tmp_path):
    if not ssh(cluster, "workers1", "echo $BASH_VERSION").stdout.strip():
        pytest.skip("this user's shell is not bash")
    bashrc = Path(home, ".bashrc")
    bashrc.write_text(f"echo read >> {tmp_path}/count\n")
    try:
        assert ssh(cluster, "workers1", "echo $SHLVL").stdout == "1\n"
    finally:
        bashrc.unlink()
    if (tmp_path / "count").exists():  # Not every bash is built to read it for sshd; Debian's is.
        assert (tmp_path / "count").read_text() == "read\n"


def test_sftp_starts_in_the_home_of_its_node(cluster, home, tmp_path):
    (tmp_path / "x").write_text("content")
    answer = subprocess.run(
        ["sftp", "-q", "-F", cluster.ssh_config, "-b", "-", "workers1"],
        input=f"pwd\nput {tmp_path}/x sftp-x\n",
        capture_output=True,
        text=True,
    )
    assert home in answer.stdout, answer.stderr
    assert ssh(cluster, "workers1", "cat sftp-x").stdout == "content"


def test_rsync_is_relative_to_the_home_of_its_node(cluster, tmp_path):
    (tmp_path / "x y").write_text("content")
    subprocess.run(
        ["rsync", "-a", "-e", f"ssh -F {cluster.ssh_config}", f"{tmp_path}/", "workers1:r/"],
        check=True,
    )
    assert ssh(cluster, "workers1", "cat 'r/x y'").stdout == "content"


def test_nodes_have_homes_addresses_and_host_keys_of_their_own(cluster):
    first, second = cluster.nodes
    assert first.address != second.address
    assert first.host_key != second.host_key
    assert ssh(cluster, "manager1", "pwd").stdout != ssh(cluster, "workers1", "pwd").stdout


def test_only_the_clusters_key_opens_a_node(cluster, tmp_path):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "k"], check=True
    )
    node = cluster.nodes[0]
    options = (
        "StrictHostKeyChecking=no UserKnownHostsFile=/dev/null IdentitiesOnly=yes BatchMode=yes"
    )
    answer = subprocess.run(
        [
            *("ssh", "-F", "none", "-i", tmp_path / "k", "-p", str(node.port)),
            *(f"-o{option}" for option in options.split()),
            *(f"{node.user}@{node.address}", "true"),
        ],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 255
    assert "Permission denied" in answer.stderr


def test_many_connections_at_once_are_accepted(cluster):
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda n: ssh(cluster, "workers1", f"echo {n}"), range(30)))
    assert [answer.stdout.strip() for answer in answers] == [str(n) for n in range(30)]


def test_the_private_parts_are_private(cluster):
    assert cluster.folder.stat().st_mode & 0o777 == 0o700
    for key in (
        cluster.folder / "id_ed25519",
        cluster.folder / "nodes/workers1/ssh_host_ed25519_key",
    ):
        assert key.stat().st_mode & 0o777 == 0o600
