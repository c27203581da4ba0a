"""Local nodes without root. When the tests run as root, a user of this machine is borrowed."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

SCRIPT = """
import json, subprocess, sys
from pathlib import Path
from cloister.cluster.lifecycle import destroy, launch
from cloister.config.spec import ClusterSpec
state = Path(sys.argv[1])
spec = ClusterSpec.model_validate({"name": "plain", "roles": {"w": 3}})
try:
    cluster = launch(spec, state=state)
    def ssh(text, *flags):
        command = ["ssh", "-F", str(cluster.ssh_config), *flags, "w2", text]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)
    answers = [ssh("id -u"), ssh("pwd; echo $HOME"), ssh("tty", "-tt")]
    ssh("env -i setsid sh -c '(cd /; sleep 1234 &)' >/dev/null 2>&1")
finally:
    receipt = destroy("plain", state=state)
print(json.dumps([[a.returncode, a.stdout, a.stderr] for a in answers] + [list(receipt.left)]))
"""


def borrowed_user():
    """An account with a shell, other than root; None if there is none."""
    shells = ("bash", "sh", "dash", "zsh")
    accounts = (a for a in pwd.getpwall() if a.pw_uid not in (0, 65534))
    return next((a for a in accounts if Path(a.pw_shell).name in shells), None)


def python_for(account):
    """An interpreter of the same version that the account may run, with our packages' folder."""
    packages = sysconfig.get_paths()["purelib"]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    path = f"{Path(__file__).parents[2]}:{packages}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        command = as_user(account, [python, "-c", "import pydantic, cryptography, cloister"], path)
        try:
            if subprocess.run(**command, capture_output=True).returncode == 0:
                return python, path
        except OSError:
            continue
    return None, path


def terminals_need_no_root():
    """sshd gives a terminal to the group tty, which only root may do unless it has it by mounting."""
    mounts = Path("/proc/mounts").read_text().splitlines()
    return any(" /dev/pts devpts " in mount and "gid=5" in mount for mount in mounts)


def as_user(account, command, path, home="/"):
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {
        "args": command,
        "user": account.pw_uid,
        "group": account.pw_gid,
        "extra_groups": [],
        "env": environment,
        "cwd": "/",
    }


def test_an_ordinary_user_launches_uses_and_destroys_local_nodes():
    if os.geteuid() != 0:
        pytest.skip("every other test here already runs as an ordinary user")
    account = borrowed_user()
    if account is None:
        pytest.skip("this machine has no other user with a shell")
    python, path = python_for(account)
    if python is None:
        pytest.skip(f"{account.pw_name} may not run a Python with cloister's dependencies")
    # Not tmp_path: pytest makes that for this user alone.
    home = tempfile.mkdtemp(prefix="cloister-test-")
    try:
        os.chown(home, account.pw_uid, account.pw_gid)
        command = as_user(account, [python, "-c", SCRIPT, f"{home}/state"], path, home)
        answer = subprocess.run(**command, capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0, answer.stderr
        who, where, terminal, left = json.loads(answer.stdout)
        assert who[:2] == [0, f"{account.pw_uid}\n"]
        assert where[1].split() == [f"{home}/state/clusters/plain/nodes/w2/home"] * 2
        if terminals_need_no_root():
            assert "/dev/pts/" in terminal[1]
        assert left == []
        assert not list(Path(home, "state", "clusters").iterdir())
        ours = subprocess.run(
            ["pgrep", "-u", str(account.pw_uid), "-f", "sleep 1234|sshd_config"],
            capture_output=True,
        )
        assert ours.stdout == b""
    finally:
        shutil.rmtree(home)
