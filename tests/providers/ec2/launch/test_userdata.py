from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from cloister.providers.ec2.launch.userdata import TELL, lease_script


@pytest.mark.parametrize(("left_s", "minutes"), [(3600, 60), (61, 2), (60, 1), (-500, 60)])
def test_the_first_thing_that_a_node_does_is_to_end_its_lease(
    tmp_path: Path, left_s: int, minutes: int
) -> None:
    """With the node's own shell; a clock that is past the end must not end a node that was asked for."""
    said = tmp_path / "said"
    program = tmp_path / "shutdown"
    program.write_text(f'#!/bin/sh\necho "$@" > {said}\n')
    program.chmod(0o755)
    # In the middle of a second, so that the node's clock shows the same one.
    time.sleep(1.1 - time.time() % 1)
    script = lease_script(int(time.time()) + left_s)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", script], env=env, check=True, timeout=10)
    assert said.read_text() == f"-P +{minutes}\n"
    assert script.splitlines()[1].count("shutdown") == 1


def test_told_over_ssh_it_keeps_itself_for_later_boots(tmp_path: Path) -> None:
    """A boot forgets a planned shutdown; cloud-init runs what lies in that folder at each."""
    every_boot = tmp_path / "per-boot"
    every_boot.mkdir()
    said = tmp_path / "said"
    for name, text in (("shutdown", f'echo "$@" >> {said}'), ("sudo", 'shift; exec "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = lease_script(int(time.time()) + 7200).replace(
        "/var/lib/cloud/scripts/per-boot", str(every_boot)
    )
    subprocess.run(["sh", "-c", TELL], input=script.encode(), env=env, check=True, timeout=10)
    [kept] = every_boot.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o755
    assert kept.read_text() == script
    subprocess.run([kept], env=env, check=True, timeout=10)
    assert said.read_text().splitlines() in (
        ["-P +120"] * 2,
        ["-P +120", "-P +121"],
        ["-P +121"] * 2,
    )


def test_a_node_that_cannot_plan_its_end_says_so(tmp_path: Path) -> None:
    (tmp_path / "shutdown").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "shutdown").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = subprocess.run(["sh", "-c", TELL], input=lease_script(0).encode(), env=env, timeout=10)
    assert told.returncode == 1
