import os
import signal
import subprocess
import sys
import threading

import pytest

from cloister.cluster.lock import holding
from cloister.errors import Busy

HOLD = """
import sys
from pathlib import Path
from cloister.cluster.lock import holding
with holding("demo", "cloister launch", state=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another command that holds the lock until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_command_is_told_who_is_at_work(tmp_path, other):
    with pytest.raises(Busy) as caught, holding("demo", "cloister run", state=tmp_path):
        pass
    assert f"process {other.pid}" in caught.value.message
    assert "cloister launch" in caught.value.message
    assert caught.value.hint


def test_a_second_command_waits_and_says_so_once(tmp_path, other):
    said = []

    def say(text):
        said.append(text)
        other.stdin.close()

    with holding("demo", "cloister run", state=tmp_path, wait_s=30, say=say):
        assert len(said) == 1
        assert f"process {other.pid}" in said[0]


def test_the_lock_of_a_killed_command_is_free(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with holding("demo", "cloister run", state=tmp_path):
        pass


def test_different_clusters_do_not_wait_for_each_other(tmp_path, other):
    with holding("another", "cloister run", state=tmp_path):
        pass


def test_no_lock_file_stays_behind_and_nobody_holds_it_twice(tmp_path):
    inside, worst = [], []

    def work():
        for _ in range(20):
            with holding("demo", "test", state=tmp_path, wait_s=60):
                inside.append(1)
                worst.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 40
    assert max(worst) == 1
    assert list((tmp_path / "locks").iterdir()) == []
