"""Credentials that are missing, wrong or over: one error that says what to do, whatever the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cloud.client import Cloud
from on_ec2 import User

from cloister.cli import main

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_FIRST_CALLS = ("DescribeInstances", "DescribeRegions", "DescribeTags", "DescribeKeyPairs")
_SIGN_ON = """
[profile work]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = research
region = us-east-1

[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = us-east-1
"""
_ROLE = """
[profile base]
aws_access_key_id = AKIASIMULATED0000000
aws_secret_access_key = simulated

[profile work]
role_arn = arn:aws:iam::123456789012:role/research
source_profile = base
region = us-east-1
"""
_PROCESS = """
[profile work]
credential_process = /bin/false
region = us-east-1
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trouble:
    """`without` and `env` change the environment, `config` is ~/.aws/config, `cloud` settings."""

    said: str
    hint: str
    without: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    config: str = ""
    cloud: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    no_region: bool = False


def _refusing(code: str, *actions: str) -> dict[str, Any]:
    return {
        "refuse": [
            {"action": action, "nth": None, "code": code, "status": 403} for action in actions
        ]
    }


TROUBLES = {
    "missing": Trouble(
        without=_KEYS, said="Unable to locate credentials", hint="`aws configure`, `aws sso login`"
    ),
    "half of them": Trouble(
        without=("AWS_SECRET_ACCESS_KEY",),
        said="Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY",
        hint="give both the access key and the secret access key",
    ),
    "expired": Trouble(
        cloud={"expired": True}, said="RequestExpired", hint="sign in again (`aws sso login`"
    ),
    "no such key": Trouble(
        cloud=_refusing("AuthFailure", *_FIRST_CALLS),
        said="AuthFailure",
        hint="the access key is not valid (any more), or this account has not enabled the region",
    ),
    "a profile that is not there": Trouble(
        env={"AWS_PROFILE": "nobody"},
        said="The config profile (nobody) could not be found",
        hint="`aws configure list-profiles`",
    ),
    "nobody signed on": Trouble(
        without=_KEYS,
        env={"AWS_PROFILE": "work"},
        config=_SIGN_ON,
        said="Error loading SSO Token: Token for corp does not exist",
        hint="`aws sso login`",
    ),
    "a role that may not be assumed": Trouble(
        without=_KEYS,
        env={"AWS_PROFILE": "work"},
        config=_ROLE,
        cloud=_refusing("AccessDenied", "AssumeRole"),
        said="AssumeRole: AccessDenied",
        hint="may your own identity assume the profile's role?",
    ),
    "a process that fails": Trouble(
        without=_KEYS,
        env={"AWS_PROFILE": "work"},
        config=_PROCESS,
        said="Error when retrieving credentials from custom-process",
        hint="does the profile's credential_process work?",
    ),
    "a broken file": Trouble(
        config="[profile", said="Unable to parse config file", hint="correct the file"
    ),
    "no region": Trouble(
        without=("AWS_DEFAULT_REGION",),
        no_region=True,
        said="no AWS region is known",
        hint="give cluster.ec2.region",
    ),
    "a wrong clock": Trouble(
        cloud=_refusing("RequestTimeTooSkewed", *_FIRST_CALLS),
        said="RequestTimeTooSkewed",
        hint="set this machine's (`timedatectl set-ntp true`)",
    ),
    "a wrong secret": Trouble(
        cloud=_refusing("SignatureDoesNotMatch", *_FIRST_CALLS),
        said="SignatureDoesNotMatch",
        hint="the secret access key does not belong to the access key",
    ),
    "nobody there": Trouble(
        env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        said='Could not connect to the endpoint URL: "http://127.0.0.1:9/"',
        hint="is this machine online",
    ),
}


@pytest.fixture
def here(user: User, monkeypatch: pytest.MonkeyPatch) -> User:
    """This process is the user's; other AWS settings of the machine do not count."""
    for name, value in user.cloud.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOISTER_STATE", str(user.folder / "state"))
    monkeypatch.setenv("HOME", str(user.folder))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.chdir(user.folder)
    monkeypatch.setattr("cloister.providers.ec2.api._FIRST_PAUSE_S", 0.01)
    # What is made here is seen at once; a destroy that is begun anew waits until it could be seen.
    monkeypatch.setattr("cloister.providers.ec2.api.VISIBLE_WITHIN_S", 1.0)
    return user


def _bring(trouble: Trouble, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in trouble.without:
        monkeypatch.delenv(name)
    for name, value in trouble.env.items():
        monkeypatch.setenv(name, value)
    if trouble.config:
        monkeypatch.setenv("AWS_CONFIG_FILE", str(user.write("aws-config", trouble.config)))
    if trouble.no_region:
        user.configure(ec2={"region": None})
    user.cloud.set(**trouble.cloud)


def _relieve(cloud: Cloud, trouble: Trouble) -> None:
    cloud.set(**{name: [] if name == "refuse" else False for name in trouble.cloud})


@pytest.mark.parametrize("command", ["plan", "launch", "destroy", "ls"])
@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_trouble_with_credentials_is_one_error_that_says_what_to_do(
    here: User,
    trouble: Trouble,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _bring(trouble, here, monkeypatch)
    try:
        status = main([command])
    finally:
        _relieve(here.cloud, trouble)
    captured = capsys.readouterr()
    # `ls` shows what it can, and why it cannot show the rest.
    assert status in ((3,) if command == "ls" else (1, 2))
    shown = captured.out if command == "ls" else captured.err
    assert captured.err.count("error:") == 1
    assert trouble.said in shown
    assert trouble.hint in shown.split("hint:")[1]
    assert here.living() == []


def test_a_folder_that_a_failed_launch_left_is_no_cluster(here: User, tmp_path: Path) -> None:
    here.cloud.set(expired=True)
    try:
        assert main(["launch"]) == 1
    finally:
        here.cloud.set(expired=False)
    assert main(["ls"]) == 0
    assert main(["launch"]) == 0
    assert len(here.living()) == 3


def test_credentials_that_expire_in_the_middle_of_a_launch_say_what_was_done_and_it_continues(
    here: User, capsys: pytest.CaptureFixture[str]
) -> None:
    for calls in range(6, 80, 8):
        here.cloud.set(expires_after_calls=calls)
        status = main(["launch"])
        here.cloud.set(expires_after_calls=None)
        shown = capsys.readouterr().err
        if status == 0:
            break
        assert "RequestExpired" in shown
        assert "sign in again" in shown and "run the command again: it continues" in shown
        assert main(["launch"]) == 0
        assert sorted(one["name"] for one in here.living()) == [
            f"{here.name}-manager",
            f"{here.name}-workers",
            f"{here.name}-workers",
        ]
        assert main(["destroy"]) == 0
        assert here.living() == []
    else:
        pytest.fail("no launch came to its end")


def test_a_launch_that_ends_in_the_middle_says_what_it_has_done(
    here: User, capsys: pytest.CaptureFixture[str]
) -> None:
    expiring = [{"action": "RunInstances", "nth": 2, "code": "RequestExpired"}]
    here.cloud.set(refuse=expiring)
    try:
        assert main(["launch"]) == 1
    finally:
        here.cloud.set(refuse=[])
    said = capsys.readouterr().err
    assert "Done before that: CreateSecurityGroup, ImportKeyPair, RunInstances: " in said
    assert main(["launch"]) == 0
    assert len(here.living()) == 3


def test_credentials_that_expire_in_the_middle_of_a_destroy_are_renewed_and_it_continues(
    here: User, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch"]) == 0
    interrupted = 0
    for calls in range(3, 80, 8):
        here.cloud.set(expires_after_calls=calls)
        status = main(["destroy"])
        here.cloud.set(expires_after_calls=None)
        if status == 0:
            break
        interrupted += 1
        assert "sign in again" in capsys.readouterr().err
    assert main(["destroy"]) == 0
    assert interrupted > 1
    assert here.living() == []
