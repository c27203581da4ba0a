"""The driver may log in to the workers: with a key that never leaves it, and without questions."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ec2_account import Account

from cloister.cluster import Cluster
from cloister.cluster.lifecycle import open_cluster
from cloister.deploy.bringing_up import bring_up
from cloister.deploy.peer_keys import introduce, with_block
from cloister.errors import CloisterError
from cloister.transport.links import Links

KEY, OTHER = "ssh-ed25519 AAAAone", "ssh-ed25519 AAAAtwo"
BLOCK = "# cloister demo: begin\nssh-ed25519 AAAAone cloister demo\n# cloister demo: end\n"

ELSE = "# cloister other: begin\nx\n# cloister other: end\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", BLOCK),
        (BLOCK, BLOCK),
        (f"{OTHER} me", f"{OTHER} me\n{BLOCK}"),
        (BLOCK.replace(KEY, OTHER) + f"{OTHER} me\n", f"{OTHER} me\n{BLOCK}"),
        (f"{KEY} came with the image\n", f"{KEY} came with the image\n"),
        (f"# cloister demo: begin\n{OTHER} me\n", f"{OTHER} me\n{BLOCK}"),
        (ELSE, ELSE + BLOCK),
    ],
)
def test_a_block_is_replaced_and_the_rest_stays(before: str, after: str) -> None:
    assert with_block(before, "demo", [f"{KEY} cloister demo"]) == after


def test_equal_lines_that_are_no_keys_may_stand_elsewhere() -> None:
    text = with_block("Port 2222\n", "demo", ["Host a", "  Port 2222", "Host *"], at_top=True)
    assert text.splitlines()[1:4] == ["Host a", "  Port 2222", "Host *"]
    assert text.endswith("# cloister demo: end\nPort 2222\n")


@pytest.fixture
def cluster(local_cluster: Callable[..., Cluster]) -> Iterator[Cluster]:
    yield local_cluster(workers=2, driver=1)


def home(cluster: Cluster, node: str) -> Path:
    return cluster.folder / "nodes" / node / "home"


def test_the_driver_logs_in_to_the_workers_with_ssh_itself(cluster: Cluster) -> None:
    with Links(marks=cluster.marks) as links:
        lent = introduce(links, cluster)
        assert lent.nodes.values == {"workers1": True, "workers2": True}
        # A local node's ssh looks into the home of this machine's user unless it is told.
        files = "-F ~/.ssh/config -i ~/.ssh/id_ed25519 -o UserKnownHostsFile=$HOME/.ssh/known_hosts"
        for worker in cluster.workers:
            command = f"ssh -o BatchMode=yes {files} {worker.private_address} 'echo $CLOISTER_NODE'"
            [outcome] = links.run([cluster.front], command, timeout_s=30).raise_first().values()
            assert outcome.stdout.decode().strip() == worker.name, outcome.stderr
        # The other way no key was lent.
        back = f"ssh -F none -o BatchMode=yes -p {cluster.front.port} {cluster.front.address} true"
        [outcome] = links.run(cluster.workers[:1], back, timeout_s=30).values.values()
        assert not outcome.ok


def test_doing_it_again_changes_nothing_and_mends_modes(cluster: Cluster) -> None:
    with Links(marks=cluster.marks) as links:
        first = introduce(links, cluster)
        file = home(cluster, "workers1") / ".ssh/authorized_keys"
        before = file.read_text()
        file.chmod(0o644)
        again = introduce(links, cluster)
    assert again.key == first.key
    assert again.nodes.values == {"workers1": False, "workers2": False}
    assert file.read_text() == before
    assert before.count("ssh-ed25519") == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_that_the_driver_has_is_used_and_private_keys_stay(cluster: Cluster) -> None:
    with Links(marks=cluster.marks) as links:
        command = "mkdir -p ~/.ssh && ssh-keygen -q -t ecdsa -N '' -f ~/.ssh/id_ecdsa"
        links.run([cluster.front], command).raise_first()
        lent = introduce(links, cluster)
    assert lent.key.startswith("ecdsa-sha2-nistp256 ")
    assert not (home(cluster, "driver1") / ".ssh/id_ed25519").exists()
    for worker in cluster.workers:
        names = {path.name for path in (home(cluster, worker.name) / ".ssh").iterdir()}
        assert names == {"authorized_keys"}


def test_a_key_with_a_passphrase_is_told_of(cluster: Cluster) -> None:
    with Links(marks=cluster.marks) as links:
        command = "mkdir -p ~/.ssh && ssh-keygen -q -t ed25519 -N secret -f ~/.ssh/id_ed25519"
        links.run([cluster.front], command).raise_first()
        with pytest.raises(CloisterError, match="driver1: preparing") as caught:
            introduce(links, cluster)
    assert "passphrase" in caught.value.hint


def test_a_new_driver_replaces_the_old_ones_key(cluster: Cluster) -> None:
    with Links(marks=cluster.marks) as links:
        old = introduce(links, cluster).key
        (home(cluster, "driver1") / ".ssh/id_ed25519").unlink()
        new = introduce(links, cluster).key
    text = (home(cluster, "workers1") / ".ssh/authorized_keys").read_text()
    assert new.split()[1] in text
    assert old.split()[1] not in text


@pytest.mark.skipif(os.geteuid() != 0, reason="ssh looks into the real home of this user")
def test_on_ec2_it_works_without_any_option_as_mpi_calls_ssh(
    account: Account, tmp_path: Path
) -> None:
    cluster = bring_up(
        account.spec(),
        state=account.state,
        servers=tmp_path / "servers",
        wait_s=10,
        report=account.events.append,
        say=lambda text: None,
    )
    cluster = open_cluster(cluster.name, state=account.state)
    with Links(marks=cluster.marks) as links:
        introduce(links, cluster)
        for worker in cluster.workers:
            command = f"ssh -o BatchMode=yes {worker.private_address} 'echo $SSH_CONNECTION'"
            [outcome] = links.run([cluster.front], command, timeout_s=30).raise_first().values()
            assert outcome.stdout.split()[2].decode() == worker.private_address, outcome.stderr
