"""What most tests of the cloud do: launch something small, wait for it, log in to it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from botocore.exceptions import ClientError

WITHIN_S = 15.0
PAUSE_S = 0.02
UBUNTU = (
    "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
)

Found = TypeVar("Found")


def launch(ec2: Any, count: int = 1, **more: Any) -> list[str]:
    """The ids of so many t3.micro instances."""
    reply = run(ec2, MinCount=count, MaxCount=count, **more)
    return [instance["InstanceId"] for instance in reply["Instances"]]


def run(ec2: Any, **more: Any) -> dict[str, Any]:
    wanted = {
        "ImageId": UBUNTU,
        "InstanceType": "t3.micro",
        "MinCount": 1,
        "MaxCount": 1,
        **more,
    }
    return dict(ec2.run_instances(**wanted))


def eventually(look: Callable[[], Found | None], what: str, *, within_s: float = WITHIN_S) -> Found:
    limit_s = time.monotonic() + within_s
    while time.monotonic() < limit_s:
        if (found := look()) is not None and found is not False:
            return found
        time.sleep(PAUSE_S)
    raise AssertionError(f"not within {within_s:g} s: {what}")


def described(ec2: Any, instance_id: str) -> dict[str, Any]:
    reply = ec2.describe_instances(InstanceIds=[instance_id])
    return dict(reply["Reservations"][0]["Instances"][0])


def in_state(ec2: Any, instance_id: str, state: str) -> dict[str, Any]:
    """The instance, as soon as it is described in this state."""

    def look() -> dict[str, Any] | None:
        instance = described(ec2, instance_id)
        return instance if instance["State"]["Name"] == state else None

    return eventually(look, f"{instance_id} is {state}")


def refusal(code: str) -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\)")


def make_key(path: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


def import_key(ec2: Any, key: Path, name: str) -> str:
    ec2.import_key_pair(KeyName=name, PublicKeyMaterial=Path(f"{key}.pub").read_bytes())
    return name


def ssh(key: Path, address: str, command: str) -> subprocess.CompletedProcess[str]:
    options = {
        "Port": "2222",
        "IdentityFile": str(key),
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        "ConnectTimeout": "10",
        "BatchMode": "yes",
    }
    given = [f"-o{name}={value}" for name, value in options.items()]
    return subprocess.run(
        ["ssh", "-F", "none", *given, address, command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def answers(key: Path, address: str) -> None:
    eventually(lambda: ssh(key, address, "true").returncode == 0, f"{address} answers")
