from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from cloister.providers.ec2.userdata import lease_script


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
