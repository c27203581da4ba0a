"""Swap is made of the right disk, of an empty one only, and once: the nodes' script, and the whole of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ec2_account import Account

from cloister.cluster import Cluster
from cloister.deploy.bringing_up import bring_up
from cloister.deploy.swapping import SWITCH_ON, attach_swap
from cloister.errors import UsageError

SERIAL = "vol0123"
NITRO = f"disk/by-id/nvme-Amazon_Elastic_Block_Store_{SERIAL}"
# Switches nothing on, tells what it was asked, and shows what is on.
SWAPON = """#!/bin/sh
case $1 in
--show*) cat {folder}/on 2>/dev/null ;;
*) echo "$1" >>{folder}/on ;;
esac
"""


class Machine:
    """A folder in place of /dev, real mkswap and blkid, and no swapon of this machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.devices = folder / "dev"
        (self.devices / "disk" / "by-id").mkdir(parents=True)
        programs = folder / "bin"
        programs.mkdir()
        (programs / "swapon").write_text(SWAPON.format(folder=folder))
        (programs / "sleep").write_text("#!/bin/sh\n")
        for program in programs.iterdir():
            program.chmod(0o755)

    def disk(self, name: str, content: bytes = b"") -> Path:
        path = self.devices / name
        path.write_bytes(content)
        os.truncate(path, 1 << 20)
        return path

    def switch_on(self) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        command = ["sh", "-c", SWITCH_ON, "sh", SERIAL, str(self.devices)]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)

    @property
    def on(self) -> list[str]:
        file = self.folder / "on"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if shutil.which("mkswap", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("this machine has no mkswap")
    return Machine(tmp_path)


@pytest.mark.parametrize("name", [NITRO, "sdf", "xvdf"])
def test_the_disk_is_found_made_swap_and_switched_on_once(machine: Machine, name: str) -> None:
    disk = machine.disk(name)
    for _ in range(2):
        done = machine.switch_on()
        assert done.returncode == 0, done.stderr
    assert machine.on == [str(disk)]
    assert b"SWAPSPACE2" in disk.read_bytes()


def test_the_volumes_own_name_wins_over_where_it_was_attached(machine: Machine) -> None:
    machine.disk("sdf")
    real = machine.disk("nvme1n1")
    (machine.devices / NITRO).symlink_to(real)
    assert machine.switch_on().returncode == 0
    assert machine.on == [str(real)]


def test_swap_that_a_restart_switched_off_is_only_switched_on(machine: Machine) -> None:
    disk = machine.disk(NITRO)
    machine.switch_on()
    before = disk.read_bytes()
    (machine.folder / "on").unlink()
    assert machine.switch_on().returncode == 0
    assert machine.on == [str(disk)]
    assert disk.read_bytes() == before


def test_a_disk_with_something_on_it_is_left_alone(machine: Machine) -> None:
    # The magic numbers of ext2 and its relatives: 0xEF53 at byte 1080.
    content = bytearray(2048)
    content[1024:1028] = (1000).to_bytes(4, "little")
    content[1028:1032] = (1000).to_bytes(4, "little")
    content[1080:1082] = b"\x53\xef"
    disk = machine.disk(NITRO, bytes(content))
    before = disk.read_bytes()
    done = machine.switch_on()
    assert done.returncode == 1
    assert "is not empty: ext2" in done.stderr
    assert disk.read_bytes() == before


def test_a_disk_that_does_not_appear_is_told_of(machine: Machine) -> None:
    done = machine.switch_on()
    assert done.returncode == 1
    assert f"no disk appeared for volume {SERIAL}" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="without root no simulated node has a /dev/disk")
def test_nodes_of_roles_with_swap_have_it_and_the_others_do_not(
    account: Account, tmp_path: Path
) -> None:
    roles: dict[str, Any] = {"manager": 1, "workers": {"count": 2, "swap": 3}}
    bring_up(
        account.spec(roles=roles),
        state=account.state,
        servers=tmp_path / "servers",
        wait_s=10,
        report=account.events.append,
        say=lambda text: None,
    )
    for _ in range(2):
        done = attach_swap(account.name, state=account.state)
        assert (done.on, done.errors) == (("workers1", "workers2"), {})
        assert done.gib == {"workers1": 3, "workers2": 3}
    for instance in account.living():
        swaps = Path(instance["home"]).parent / "swaps"
        lines = swaps.read_text().splitlines() if swaps.exists() else []
        assert len(lines) == (1 if instance["tags"]["cloister:roles"] == "workers" else 0), lines


def test_a_local_cluster_has_no_volumes(local_cluster: Callable[..., Cluster]) -> None:
    cluster = local_cluster(1)
    with pytest.raises(UsageError, match="not on EC2"):
        attach_swap(cluster.name, state=cluster.folder.parent.parent)
