"""A command killed at any instant leaves what destroy removes, and what launch completes."""

import os
import random
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloister.cluster.lifecycle import destroy, launch, observe
from cloister.config.spec import ClusterSpec

COMMAND = """
import sys
from pathlib import Path
from cloister.cluster.lifecycle import destroy, launch
from cloister.config.spec import ClusterSpec
spec = ClusterSpec.model_validate({"name": sys.argv[2], "roles": {"w": 5}})
import cloister.providers.local.provider, cloister.plan.launching
from cloister.providers.keys import new_key_pair
new_key_pair()
print("ready", flush=True)
if sys.argv[1] == "launch":
    launch(spec, state=Path(sys.argv[3]))
else:
    destroy(sys.argv[2], state=Path(sys.argv[3]))
"""
KILLS = 10
# A launch or a destroy of five nodes takes about this long, after its imports.
SPAN_S = 0.25


def killed(command, name, state, after_s):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, command, name, str(state)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    process.stdout.readline()
    time.sleep(after_s)
    process.kill()
    process.wait()
    process.stdout.close()


def naming(text):
    """Processes other than zombies whose command line, environment or folder has the text."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            content = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            content += os.fsencode((process / "cwd").readlink())
        except OSError:
            continue
        if text.encode() in content and int(process.name) != os.getpid():
            found.append((process.name, content[:80]))
    return found


@pytest.fixture
def name(tmp_path):
    name = f"kill-{secrets.token_hex(4)}"
    yield name
    destroy(name, state=tmp_path)


def is_nothing_left(name, state):
    return (
        not observe(name, state=state).exists
        and naming(name) == []
        and list((state / "clusters").glob("*")) == []
    )


def test_destroy_removes_all_after_a_launch_killed_at_any_moment(name, tmp_path):
    moments = random.Random(1)
    for _ in range(KILLS):
        killed("launch", name, tmp_path, moments.uniform(0, SPAN_S))
        destroy(name, state=tmp_path)
        assert is_nothing_left(name, tmp_path)


def test_launch_completes_a_launch_killed_at_any_moment(name, tmp_path):
    spec = ClusterSpec.model_validate({"name": name, "roles": {"w": 5}})
    moments = random.Random(2)
    for _ in range(KILLS):
        killed("launch", name, tmp_path, moments.uniform(0, SPAN_S))
        assert len(launch(spec, state=tmp_path).nodes) == 5
        observed = observe(name, state=tmp_path)
        assert [entry.state for entry in observed.nodes] == ["running"] * 5
        assert observed.leftovers == ()
        destroy(name, state=tmp_path)


def test_destroy_completes_a_destroy_killed_at_any_moment(name, tmp_path):
    spec = ClusterSpec.model_validate({"name": name, "roles": {"w": 5}})
    moments = random.Random(3)
    for _ in range(KILLS):
        launch(spec, state=tmp_path)
        killed("destroy", name, tmp_path, moments.uniform(0, SPAN_S))
        destroy(name, state=tmp_path)
        assert is_nothing_left(name, tmp_path)
