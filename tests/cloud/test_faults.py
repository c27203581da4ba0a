"""Lost replies, refusals, callers that are killed, throttling, and the journal that tells of them."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from cloud.client import Call, Cloud
from cloud.conftest import Client
from cloud.using import launch, refusal, run

SETTINGS = {"api_only": True}
# A program that launches and then makes a group, to be killed at one of them.
_PROGRAM = """
import boto3
ec2 = boto3.client("ec2", region_name="eu-north-1")
ec2.describe_vpcs()
ec2.run_instances(ImageId="%s", InstanceType="t3.micro", MinCount=1, MaxCount=1, ClientToken="%s")
ec2.create_security_group(GroupName="%s", Description="d")
"""


def latest(cloud: Cloud, action: str) -> list[Call]:
    return [call for call in cloud.calls() if call.action == action]


def test_a_lost_reply_is_of_a_call_that_was_done(cloud: Cloud, ec2: Any) -> None:
    cloud.set(lose_reply=["RunInstances#2"])
    launch(ec2, ClientToken="first")
    with pytest.raises(ConnectionClosedError):
        run(ec2, ClientToken="lost")
    assert latest(cloud, "RunInstances")[-1].fate == "lost"
    (there,) = [one["id"] for one in cloud.instances() if one["token"] == "lost"]
    assert launch(ec2, ClientToken="lost") == [there]


def test_a_refused_call_is_not_done(cloud: Cloud, ec2: Any) -> None:
    rule = {"action": "RunInstances", "nth": 1, "code": "Unlucky", "message": "m", "status": 503}
    cloud.set(refuse=[rule])
    with refusal("Unlucky") as refused:
        run(ec2, ClientToken="refused")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert not [one for one in cloud.instances() if one["token"] == "refused"]
    assert latest(cloud, "RunInstances")[-1].error == "Unlucky"
    launch(ec2, ClientToken="refused")


def test_refusals_speak_the_protocol_of_the_service(cloud: Cloud, client: Client) -> None:
    for service, action, call in (
        ("ssm", "GetParameter", lambda c: c.get_parameter(Name="/x")),
        ("sts", "GetCallerIdentity", lambda c: c.get_caller_identity()),
        ("scheduler", "ListSchedules", lambda c: c.list_schedules()),
    ):
        cloud.set(refuse=[{"action": action, "code": "Unlucky"}])
        with refusal("Unlucky"):
            call(client(service))


@pytest.mark.parametrize(
    ("action", "nth", "when", "instances", "groups"),
    [
        ("RunInstances", 1, "before", 0, 0),
        ("RunInstances", 1, "after", 1, 0),
        ("any", 2, "before", 1, 0),
        ("any", 2, "after", 1, 1),
        ("every", 1, "after", 0, 0),
        ("every", 2, "before", 0, 0),
        ("every", 3, "after", 1, 1),
    ],
)
def test_the_caller_is_killed_before_or_after_its_call(
    cloud: Cloud, client: Client, action: str, nth: int, when: str, instances: int, groups: int
) -> None:
    image = client("ec2", "eu-north-1").describe_images(Owners=["self"])["Images"][0]["ImageId"]
    name = f"{action}{nth}{when}"
    cloud.set(kill_caller={"action": action, "nth": nth, "when": when})
    program = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM % (image, name, name)], env=cloud.env
    )
    assert program.wait(30) == -signal.SIGKILL
    last = cloud.calls()[-1]
    assert (last.pid, last.fate) == (program.pid, f"killed {when}")
    assert len([one for one in cloud.instances() if one["token"] == name]) == instances
    assert len([line for line in cloud.billable() if line.endswith(f" {name}")]) == groups


def test_expired_credentials_are_refused_everywhere(cloud: Cloud, client: Client) -> None:
    cloud.set(expired=True)
    with refusal("RequestExpired"):
        client("ec2").describe_instances()
    with refusal("ExpiredToken"):
        client("sts").get_caller_identity()
    with refusal("ExpiredTokenException"):
        client("ssm").get_parameter(Name="/x")


def test_buckets_of_tokens_run_dry(cloud: Cloud, client: Client) -> None:
    ec2 = client("ec2", "ap-south-1")
    cloud.set(throttle=True)
    for _ in range(5):
        launch(ec2)
    with refusal("RequestLimitExceeded") as refused:
        for _ in range(20):
            launch(ec2)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    with refusal("RequestLimitExceeded"):
        launch(client("ec2", "ap-northeast-1"), 1001)


def test_rules_of_groups_have_a_bucket_of_their_own(cloud: Cloud, client: Client) -> None:
    ec2 = client("ec2", "ap-northeast-2")
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    cloud.set(throttle=True)

    def allow(port: int) -> None:
        ec2.authorize_security_group_ingress(
            GroupId=group, IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp="192.0.2.1/32"
        )

    # At once: one after the other, a slow machine would be no faster than the bucket fills.
    with refusal("RequestLimitExceeded"), ThreadPoolExecutor(16) as pool:
        list(pool.map(allow, range(1, 200)))
    ec2.delete_security_group(GroupId=group)


def test_aws_may_take_its_time(cloud: Cloud, ec2: Any) -> None:
    cloud.set(works_s={"DescribeInstances": 0.3, "*": 0.0})
    began = time.monotonic()
    ec2.describe_security_groups()
    assert time.monotonic() - began < 0.3
    ec2.describe_instances()
    assert time.monotonic() - began >= 0.3


def test_calls_are_written_down(cloud: Cloud, ec2: Any, region: str) -> None:
    launch(ec2, ClientToken="noted")
    call = cloud.calls()[-1]
    assert (call.service, call.action, call.region) == ("ec2", "RunInstances", region)
    assert call.parameters["ClientToken"] == "noted" and call.parameters["MaxCount"] == "1"
    assert (call.pid, call.error, call.fate) == (None, "", "answered")
    assert call.number == len(cloud.calls())
    assert f'"number": {call.number},' in (cloud.folder / "calls.jsonl").read_text()
    assert dataclasses.is_dataclass(call)


def test_the_address_of_the_caller(cloud: Cloud) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(cloud.env["CLOISTER_ADDRESS_URL"]) as reply:
        assert reply.read() == b"127.0.0.1\n"


def test_unknown_settings_are_refused(cloud: Cloud) -> None:
    with pytest.raises(ValueError, match="no such settings: boots"):
        cloud.set(boots=1)


def test_calls_side_by_side_launch_once_per_token(cloud: Cloud, ec2: Any) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.extend(launch(ec2, 2, ClientToken="together")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and len(set(found)) == 2
