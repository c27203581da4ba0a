"""The machines behind the instances: real logins, user data, and guests that end themselves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cloud.client import Cloud
from cloud.using import (
    answers,
    described,
    eventually,
    import_key,
    in_state,
    launch,
    make_key,
    run,
    ssh,
)


@pytest.fixture
def key_name(ec2: Any, key: Path, request: pytest.FixtureRequest) -> str:
    return import_key(ec2, key, request.node.name)


def booted(ec2: Any, key: Path, instance: str) -> str:
    """The address of the instance, when one can log in to it."""
    address = str(in_state(ec2, instance, "running")["PublicIpAddress"])
    answers(key, address)
    return address


def alive(mark: str) -> list[str]:
    """The command lines that have this text in them."""
    every = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path))
    return [line.decode(errors="replace") for line in every if mark.encode() in line]


def readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def of(cloud: Cloud, instance: str) -> dict[str, Any]:
    return next(one for one in cloud.instances() if one["id"] == instance)


def test_login_home_and_host_key(cloud: Cloud, ec2: Any, key: Path, key_name: str) -> None:
    ids = launch(ec2, 2, KeyName=key_name)
    first, second = (booted(ec2, key, one) for one in ids)
    assert ssh(key, first, "echo mine > note; pwd; whoami").returncode == 0
    assert ssh(key, first, "cat ~/note").stdout == "mine\n"
    assert ssh(key, second, "ls").stdout == ""
    assert (Path(of(cloud, ids[0])["home"]) / "note").read_text() == "mine\n"
    output = ec2.get_console_output(InstanceId=ids[0], Latest=True)["Output"]
    block = output.split("-----BEGIN SSH HOST KEY KEYS-----")[1].split("-----END")[0].split()
    scanned = subprocess.run(
        ["ssh-keyscan", "-p", "2222", "-t", "ed25519", first], capture_output=True, text=True
    ).stdout.split()
    assert block[:2] == scanned[-2:]
    # Nodes reach each other at the address that both of them know.
    reached = ssh(key, first, f"exec 3<>/dev/tcp/{second}/2222; head -c 4 <&3; true")
    assert reached.stdout == "SSH-" or "not found" in reached.stderr


def test_another_key_is_refused(ec2: Any, key: Path, key_name: str, tmp_path: Path) -> None:
    (instance,) = launch(ec2, KeyName=key_name)
    address = booted(ec2, key, instance)
    assert ssh(make_key(tmp_path / "other"), address, "true").returncode == 255


def test_user_data_runs_once_with_a_lease(cloud: Cloud, ec2: Any, key: Path, key_name: str) -> None:
    script = "#!/bin/sh\nshutdown -P +10\nsleep 0.3\necho ran $CLOUD_INIT >> ~/ran\n"
    (instance,) = launch(
        ec2, KeyName=key_name, UserData=script, InstanceInitiatedShutdownBehavior="terminate"
    )
    address = booted(ec2, key, instance)
    waited = ssh(key, address, "cloud-init status --wait && cat ~/ran")
    assert waited.stdout == "status: done\nran 1\n"
    assert of(cloud, instance)["lease_s"] == pytest.approx(600, abs=30)
    cloud.advance(300)
    # The later word replaces the earlier one.
    assert ssh(key, address, "sudo -n shutdown -P +20 'for longer'").returncode == 0
    cloud.advance(1100)
    assert described(ec2, instance)["State"]["Name"] == "running"
    cloud.advance(200)
    gone = described(ec2, instance)
    assert gone["State"]["Name"] == "terminated"
    assert gone["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert not Path(of(cloud, instance)["home"]).exists()


def test_a_lease_can_be_cancelled(cloud: Cloud, ec2: Any, key: Path, key_name: str) -> None:
    (instance,) = launch(ec2, KeyName=key_name)
    address = booted(ec2, key, instance)
    assert ssh(key, address, "shutdown -P +5 && shutdown -c").returncode == 0
    assert ssh(key, address, "shutdown -P +x").returncode == 1
    cloud.advance(3600)
    assert described(ec2, instance)["State"]["Name"] == "running"


def test_a_guest_stops_if_that_is_its_behaviour(
    cloud: Cloud, ec2: Any, key: Path, key_name: str
) -> None:
    (instance,) = launch(ec2, KeyName=key_name, UserData="#!/bin/sh\necho x >> ~/boots\n")
    address = booted(ec2, key, instance)
    ssh(key, address, "bash -lc 'shutdown now'")
    in_state(ec2, instance, "stopped")
    assert of(cloud, instance)["pid"] is None
    ec2.start_instances(InstanceIds=[instance])
    assert ssh_output(ec2, key, instance, "cat boots") == "x\n"


def ssh_output(ec2: Any, key: Path, instance: str, command: str) -> str:
    return ssh(key, booted(ec2, key, instance), command).stdout


def test_commands_that_would_end_this_machine_end_the_guest(
    ec2: Any, key: Path, key_name: str
) -> None:
    """As root the real programs are covered; otherwise they are not ours to run."""
    if os.geteuid() != 0:
        pytest.skip("needs a mount namespace")
    (instance,) = launch(ec2, KeyName=key_name)
    address = booted(ec2, key, instance)
    for path in ("/sbin/shutdown", "/usr/sbin/poweroff", "/usr/bin/systemctl"):
        text = ssh(key, address, f"[ ! -e {path} ] || head -c 9 {path}").stdout
        assert text in ("", "#!/bin/sh"), path


def test_termination_ends_every_process_of_the_node(
    cloud: Cloud, ec2: Any, key: Path, key_name: str
) -> None:
    (instance,) = launch(ec2, KeyName=key_name)
    address = booted(ec2, key, instance)
    mark = f"86400.{os.getpid()}"
    ssh(key, address, f"setsid nohup sleep {mark} >/dev/null 2>&1 </dev/null &")
    eventually(lambda: alive(mark) or None, "the process runs")
    ec2.terminate_instances(InstanceIds=[instance])
    in_state(ec2, instance, "terminated")
    assert not alive(mark)


def test_connections_are_refused_at_first(cloud: Cloud, ec2: Any, key: Path, key_name: str) -> None:
    cloud.set(ssh_refuses_first=2)
    (instance,) = launch(ec2, KeyName=key_name)
    address = in_state(ec2, instance, "running")["PublicIpAddress"]
    refused = 0

    def greeted() -> bool | None:
        nonlocal refused
        try:
            with socket.create_connection((address, 2222), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return True
                refused += 1
        except ConnectionResetError:
            refused += 1
        except ConnectionRefusedError:
            pass
        return None

    eventually(greeted, "sshd answers")
    assert refused == 2


def test_a_closed_firewall_keeps_callers_out_until_a_rule_lets_them_in(
    cloud: Cloud, ec2: Any, key: Path, key_name: str
) -> None:
    cloud.set(firewall=True)
    group = ec2.create_security_group(GroupName="closed", Description="d")["GroupId"]
    (instance,) = launch(ec2, KeyName=key_name, SecurityGroupIds=[group])
    address = in_state(ec2, instance, "running")["PublicIpAddress"]
    assert ssh(key, address, "true").returncode == 255
    ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="127.0.0.1/32"
    )
    answers(key, address)


def test_a_paused_sshd_answers_nobody(cloud: Cloud, ec2: Any, key: Path, key_name: str) -> None:
    (instance,) = launch(ec2, KeyName=key_name)
    address = booted(ec2, key, instance)
    cloud.pause(instance)
    with socket.create_connection((address, 2222), timeout=0.3) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(4)
        cloud.resume(instance)
        connection.settimeout(10)
        assert connection.recv(4) == b"SSH-"


def test_a_frozen_node_does_nothing_until_it_thaws(
    cloud: Cloud, ec2: Any, key: Path, key_name: str
) -> None:
    (instance,) = launch(ec2, KeyName=key_name)
    address = booted(ec2, key, instance)
    ssh(key, address, "(while sleep 0.01; do date +%s%N > now; done) >/dev/null 2>&1 </dev/null &")
    now = Path(of(cloud, instance)["home"]) / "now"
    eventually(lambda: now.exists(), "the loop runs")
    cloud.freeze(instance)
    frozen = now.read_text()
    with pytest.raises(AssertionError):
        eventually(lambda: now.read_text() != frozen, "nothing", within_s=0.2)
    cloud.thaw(instance)
    eventually(lambda: now.read_text() not in (frozen, ""), "the loop goes on")


def test_an_image_of_a_node_has_what_was_in_its_home(
    cloud: Cloud, ec2: Any, key: Path, key_name: str
) -> None:
    (source,) = launch(ec2, KeyName=key_name)
    assert ssh(key, booted(ec2, key, source), "echo baked > file").returncode == 0
    image = ec2.create_image(InstanceId=source, Name="baked", NoReboot=True)["ImageId"]
    eventually(
        lambda: ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available",
        "the image is available",
    )
    reply = run(ec2, ImageId=image, KeyName=key_name)
    assert ssh_output(ec2, key, reply["Instances"][0]["InstanceId"], "cat file") == "baked\n"


def test_a_killed_server_leaves_no_nodes(tmp_path: Path, session: Any, key: Path) -> None:
    with Cloud.start(tmp_path) as cloud:
        ec2 = session.client("ec2", region_name="us-east-1", endpoint_url=cloud.endpoint)
        (instance,) = launch(ec2, KeyName=import_key(ec2, key, "k"))
        address = booted(ec2, key, instance)
        mark = f"86300.{os.getpid()}"
        ssh(key, address, f"setsid nohup sleep {mark} >/dev/null 2>&1 </dev/null &")
        eventually(lambda: alive(mark) or None, "the process runs")
        cloud.process.send_signal(signal.SIGKILL)
        eventually(lambda: not alive(mark) and not alive(f"{tmp_path}/nodes"), "all is gone")


def test_a_server_that_ends_takes_its_nodes_with_it(
    tmp_path: Path, session: Any, key: Path
) -> None:
    with Cloud.start(tmp_path) as cloud:
        ec2 = session.client("ec2", region_name="us-east-1", endpoint_url=cloud.endpoint)
        (instance,) = launch(ec2, KeyName=import_key(ec2, key, "k"))
        booted(ec2, key, instance)
    assert not alive(f"{tmp_path}/nodes")
