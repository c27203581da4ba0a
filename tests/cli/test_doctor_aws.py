"""`cloister doctor --aws` on a simulated EC2: what it finds out, and that it makes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cloud.client import Call
from on_ec2 import User

POLICY = json.loads((Path(__file__).parents[2] / "docs/iam/cloister-policy.json").read_text())
READING = ("Describe", "Get", "List")
RICH: dict[str, Any] = {
    "roles": {
        "manager": {"count": 1, "placement": "cluster", "swap": 4},
        "workers": {"regions": {"us-east-1": 1, "eu-west-1": 1}, "market": "spot"},
    },
    "ec2": {"development": "dev.example", "instance_profile": "cloister-node"},
}


def denying(*actions: str) -> list[dict[str, Any]]:
    return [
        {"action": action, "nth": None, "code": "UnauthorizedOperation", "status": 403}
        for action in actions
    ]


def said(findings: list[dict[str, Any]], ok: bool | None) -> str:
    return "\n".join(f"{f['what']}: {f['found']} {f['mend']}" for f in findings if f["ok"] is ok)


def calls_since(user: User, number: int) -> list[Call]:
    return user.cloud.calls()[number:]


def test_without_aws_it_stays_offline_and_says_what_there_is(user: User) -> None:
    before = len(user.cloud.calls())
    called = user("doctor")
    assert called.status == 0
    assert "`cloister doctor --aws`" in called.stdout
    assert calls_since(user, before) == []


def test_it_makes_nothing_and_says_who_asks_and_what_is_permitted(user: User) -> None:
    user.configure(**RICH)
    before, billable = len(user.cloud.calls()), user.cloud.billable()
    called = user("doctor", "--aws")
    assert called.status == 0, called
    assert user.cloud.billable() == billable
    made = [c for c in calls_since(user, before) if not c.action.startswith(READING)]
    assert {call.action for call in made} >= {
        "RunInstances",
        "CreateSecurityGroup",
        "AuthorizeSecurityGroupIngress",
        "ImportKeyPair",
        "CreatePlacementGroup",
        "CreateTags",
        "CreateImage",
        "AttachVolume",
        "TerminateInstances",
        "DeleteSecurityGroup",
    }
    assert [call for call in made if call.parameters.get("DryRun") != "true"] == []
    assert (
        "account 123456789012, credentials from environment variables, region us-east-1"
        in called.stdout
    )
    for region in ("us-east-1", "eu-west-1"):
        assert f"calls permitted in {region}" in called.stdout
    assert "not tried: iam:PassRole" in called.stdout


def test_what_a_configuration_does_not_need_is_not_tried(user: User) -> None:
    before = len(user.cloud.calls())
    user.findings("--aws")
    tried = {call.action for call in calls_since(user, before)}
    assert not tried & {"CreatePlacementGroup", "CreateVolume", "CreateImage", "ListSchedules"}


def test_a_denied_call_is_named_with_what_to_add_to_the_policy(user: User) -> None:
    user.cloud.set(refuse=denying("TerminateInstances", "DescribeTags"))
    try:
        called = user("doctor", "--aws")
    finally:
        user.cloud.set(refuse=[])
    assert called.status == 1
    assert "BAD  ec2:TerminateInstances: denied in us-east-1; needed to end nodes" in called.stdout
    assert "BAD  ec2:DescribeTags" in called.stdout
    mend = next(line for line in called.stdout.splitlines() if '"ec2:TerminateInstances"' in line)
    statement = json.loads(mend[mend.index("{") :])
    assert statement["Resource"] == ["arn:aws:ec2:*:*:instance/*"]
    assert statement["Condition"] == {"Null": {"aws:ResourceTag/cloister:cluster": "false"}}


def test_what_a_launch_needs_to_know_and_may_not_is_said_once(user: User) -> None:
    user.cloud.set(refuse=denying("DescribeSubnets"))
    try:
        findings = user.findings("--aws")
    finally:
        user.cloud.set(refuse=[])
    assert said(findings, False).count("denied") == 1
    assert "not tried: ec2:RunInstances" in said(findings, None)


def test_a_policy_that_asks_for_the_tag_is_not_doubted_before_there_is_a_cluster(
    user: User,
) -> None:
    user.cloud.set(policy=POLICY)
    try:
        findings = user.findings("--aws")
        assert said(findings, False) == ""
        assert "unknown: ec2:AuthorizeSecurityGroupIngress" in said(findings, None)
        assert user("launch").status == 0
        findings = user.findings("--aws")
        assert said(findings, False) == ""
        assert "unknown" not in said(findings, None)
    finally:
        user.cloud.set(policy=None)


def test_a_policy_without_a_statement_is_found_out_in_a_cluster(user: User) -> None:
    assert user("launch").status == 0
    parts = [one for one in POLICY["Statement"] if one["Sid"] != "ChangeOurs"]
    user.cloud.set(policy={**POLICY, "Statement": parts})
    try:
        findings = user.findings("--aws")
    finally:
        user.cloud.set(policy=None)
    assert "ec2:TerminateInstances: denied in us-east-1" in said(findings, False)


def test_an_image_that_is_not_there_is_found_out(user: User) -> None:
    user.configure(ec2={"image": "ami-0123456789abcdef0"})
    assert "there is no image ami-0123456789abcdef0" in said(user.findings("--aws"), False)


@pytest.mark.parametrize(("limit", "ok"), [(6, True), (5, False)])
def test_the_quota_is_compared_with_what_is_needed(user: User, limit: int, ok: bool) -> None:
    user.cloud.set(vcpu_limit=limit)
    try:
        findings = user.findings("--aws")
    finally:
        user.cloud.set(vcpu_limit=None)
    expected = f"6 needed in us-east-1 (on-demand), 0 taken by others, {limit} allowed"
    assert expected in said(findings, ok)


def test_missing_credentials_end_it_with_what_to_do(user: User) -> None:
    called = user("doctor", "--aws", without=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    assert called.status == 1
    assert "BAD  AWS: " in called.stdout
    assert "mend: `aws configure`" in called.stdout


def test_it_is_about_ec2_only(user: User) -> None:
    user.write("local.yaml", "cluster: {name: here, roles: {workers: 1}}")
    called = user("doctor", "--aws", "-c", "local.yaml")
    assert called.status == 2
    assert "is not on EC2" in called.stderr
