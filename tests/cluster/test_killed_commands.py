"""A command killed at any instant leaves what destroy removes, and what launch completes."""

import os
import random
import secrets
import signal
import time
from pathlib import Path

import pytest
from forked import PROGRAM

from cloister.cluster.lifecycle import destroy, launch, observe
from cloister.config.spec import ClusterSpec

KILLS = 10
WITHIN_S = 60.0
# About as long as they take with five nodes.
SPANS_S = {"launch": 0.5, "destroy": 0.13}


def killed(command, name, state, moments):
    (state / "cloister.yaml").write_text(f"cluster: {{name: {name}, roles: {{w: 5}}}}\n")
    environment = {**os.environ, "CLOISTER_STATE": str(state)}
    with PROGRAM.started([command], state, environment) as running:
        time.sleep(moments.uniform(0, SPANS_S[command]))
        running.kill()
        assert running.wait(WITHIN_S) in (0, -signal.SIGKILL), running.said()


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
        killed("launch", name, tmp_path, moments)
        destroy(name, state=tmp_path)
        assert is_nothing_left(name, tmp_path)


def test_launch_completes_a_launch_killed_at_any_moment(name, tmp_path):
    spec = ClusterSpec.model_validate({"name": name, "roles": {"w": 5}})
    moments = random.Random(2)
    for _ in range(KILLS):
        killed("launch", name, tmp_path, moments)
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
        killed("destroy", name, tmp_path, moments)
        destroy(name, state=tmp_path)
        assert is_nothing_left(name, tmp_path)
