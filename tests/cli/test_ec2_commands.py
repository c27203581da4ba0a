"""The commands on the simulated EC2, as a user of the first cloister types them, with its flat JSON."""

from __future__ import annotations

import getpass
import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from calling import Called, Caller
from cloud.client import Cloud
from cloud.using import make_key

EXPERIMENT = """
experiments:
  - name: count
    sweep: {n: [1, 2]}
    timeout: 20s
    processes:
      p: {role: workers, nodes: 1, command: "echo n {{ n }}"}
    metrics: {n: {process: p, pattern: 'n (\\d+)'}}
"""


class User:
    """With a flat JSON, a key pair that AWS knows, and nodes on the simulation's port."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud, self.caller = cloud, Caller(folder=folder)
        self.name = f"t{secrets.token_hex(4)}"
        key = make_key(folder / "someone-key.pem")
        ec2 = boto3.client(
            "ec2",
            region_name="us-east-1",
            endpoint_url=cloud.endpoint,
            aws_access_key_id="AKIASIMULATED0000000",
            aws_secret_access_key="simulated",
        )
        public = Path(f"{key}.pub").read_bytes()
        ec2.import_key_pair(KeyName=self.name, PublicKeyMaterial=public)
        self.delete_key = lambda: ec2.delete_key_pair(KeyName=self.name)
        flat = {
            "identity_file": self.name,
            "key_pair": str(key),
            "cluster_name": self.name,
            "master_file": "servers/master.txt",
            "servers_file": "servers/servers.txt",
            "user": getpass.getuser(),
            "instance_type": "c7i.large",
            "ami": "latest",
            "ami_tag": "cloister-base",
            "region": "us-east-1",
            "nworkers": 2,
        }
        (folder / "ps_config.json").write_text(json.dumps(flat))
        (folder / "here.yaml").write_text("cluster: {ssh: {port: 2222}}\n" + EXPERIMENT)

    def __call__(self, *arguments: str) -> Called:
        return self.caller("-c", "ps_config.json", "-c", "here.yaml", *arguments, **self.variables)

    def ok(self, *arguments: str) -> Called:
        called = self(*arguments)
        assert called.status == 0, called
        return called

    @property
    def variables(self) -> dict[str, str]:
        return self.cloud.variables

    def file(self, name: str) -> str:
        return (self.caller.folder / name).read_text()


@pytest.fixture(scope="module")
def user(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    user = User(cloud, tmp_path_factory.mktemp("user"))
    yield user
    user.ok("destroy")
    user.delete_key()
    assert not [line for line in cloud.billable() if user.name in line]


def test_a_flat_json_lives_a_whole_life(user: User) -> None:
    planned = user.ok("plan")
    assert "image ami-" in planned.stdout and "cloister-base-20260102" in planned.stdout
    assert "unsafe, not done" in planned.stderr
    user.ok("launch")
    assert user.file("servers/master.txt") == user.file("servers/manager.txt")
    assert len(user.file("servers/servers.txt").splitlines()) == 2
    assert "master1,workers[1-2]: " in user.ok("copy-dns").stdout
    said = user.ok("run-command", "-r", "workers", "echo \"it costs $((40 + 2)) 'dollars'\"").stdout
    assert "workers[1-2]:\n  it costs 42 'dollars'" in said
    [shown] = [one for one in user.ok("ls", "--json").json if one["name"] == user.name]
    assert len(shown["nodes"]) == 3
    assert "end by themselves in 6 h 00 min" in user.ok("extend", "6h").stdout
    assert "2 complete, 0 failed, 0 invalid" in user.ok("run").stdout
    record = json.loads(user.file("results/count/n=1/rep-1/attempt-1/record.json"))
    labels = record["nodes"][0]["labels"]
    assert labels["image"].startswith("ami-") and labels["machine"] == "c7i.large"
    assert record["provenance"]["cluster"]["dollars_per_hour"] == pytest.approx(3 * 0.09425)


def test_ls_tells_age_lease_and_cost_and_names_what_cannot_be_seen(user: User) -> None:
    user.ok("launch")
    said = user.ok("ls").stdout
    assert f"{user.name} (ec2): 3 of 3 nodes running in us-east-1" in said
    assert re.search(
        r"^  .+ old, lease ends in .+, \$0\.\d+ so far, \$0\.2828 per hour$", said, re.MULTILINE
    )
    [shown] = [one for one in user.ok("ls", "--json").json if one["name"] == user.name]
    assert shown["regions"] == ["us-east-1"]
    assert shown["bill"]["dollars_per_hour"] == pytest.approx(3 * 0.09425)
    assert shown["bill"]["expires"] == shown["expires"]
    user.cloud.set(expired=True)
    try:
        called, machine = user("ls"), user("ls", "--json")
    finally:
        user.cloud.set(expired=False)
    assert called.status == machine.status == 3
    assert (
        f"{user.name} (ec2): not seen: DescribeRegions in us-east-1: RequestExpired"
        in called.stdout
    )
    assert "hint: sign in again" in called.stdout
    [gap] = machine.json
    assert (gap["name"], gap["provider"]) == (user.name, "ec2")
    assert "RequestExpired" in gap["error"] and "sign in again" in gap["hint"]


def test_access_is_shown_and_refreshed(user: User) -> None:
    user.ok("launch")
    assert "tcp 2222    from 127.0.0.1/32\n" in user.ok("access", "show").stdout
    (user.caller.folder / "there.yaml").write_text("cluster: {ec2: {access: [192.0.2.7/32]}}\n")
    said = user.ok("-c", "there.yaml", "access", "refresh").stdout
    assert re.search(r"tcp 2222 +from 192\.0\.2\.7/32 +added\n", said)
    assert re.search(r"tcp 2222 +from 127\.0\.0\.1/32 +revoked\n", said)
    [group] = user.ok("access", "refresh", "--json").json["groups"]
    assert [rule["source"] for rule in group["added"]] == ["127.0.0.1/32"]
    assert [rule["source"] for rule in group["revoked"]] == ["192.0.2.7/32"]


def test_a_label_names_another_cluster_and_its_images(user: User) -> None:
    refused = user("-l", "other-base", "plan")
    assert refused.status == 1
    assert "no name begins with 'other-base'" in refused.stderr
    assert "cloister-base-20260102" in refused.stderr


def test_a_label_as_names_were_means_the_same_cluster_in_every_command(user: User) -> None:
    planned = user("-l", "Clamor_Test", "plan")
    assert "no name begins with 'Clamor_Test'" in planned.stderr
    assert "-l: 'Clamor_Test' is called 'clamor-test'" in planned.stderr
    assert (
        "clamor-test: nothing found, nothing left" in user.ok("-l", "Clamor_Test", "destroy").stdout
    )
    refused = user.caller("-l", "Clamor_Test", "destroy", **user.variables)
    assert refused.status == 2
    assert "'Clamor_Test' is not a name of a cluster" in refused.stderr


def test_more_workers_are_launched_beside_those_that_are_there(user: User) -> None:
    user.ok("launch")
    before = user.file("servers/servers.txt").splitlines()
    user.ok("-n", "3", "launch")
    assert user.file("servers/servers.txt").splitlines()[:2] == before
    user.ok("launch")
    assert user.file("servers/servers.txt").splitlines() == before


def test_a_sweep_beyond_the_budget_is_refused_before_its_first_trial(user: User) -> None:
    user.ok("launch")
    folder = user.caller.folder
    (folder / "poor.yaml").write_text(
        "cluster: {ec2: {budget: {hours_max: 4.5}}}\n"
        + EXPERIMENT.replace("name: count", "name: slow").replace("20s", "3h")
    )
    called = user("-c", "poor.yaml", "launch")
    assert called.status == 0, called
    refused = user("-c", "poor.yaml", "run", "-e", "slow")
    assert refused.status == 2
    assert "the budget's hours_max is 4.5" in refused.stderr
    assert not (folder / "results" / "slow").exists()
