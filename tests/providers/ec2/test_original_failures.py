"""What the first cloister did wrong on EC2 (its code at the end of 2021), each shown to be gone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from cloud.client import Call
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from ec2_account import Account

from cloister.cli import main
from cloister.cluster.lifecycle import open_cluster
from cloister.config.loading import load
from cloister.deploy.bringing_up import bring_up
from cloister.errors import PartlyDone, ProviderError

READING = ("Describe", "Get", "List")
REGIONS = ("us-east-1", "eu-west-1", "us-west-2")
FLAT = {
    "identity_file": "someone-key",
    "key_pair": "~/.ssh/someone-key.pem",
    "driver_file": "servers/driver.txt",
    "user": "ubuntu",
    "instance_type": "m5.large",
    "ami": "latest",
    "ami_tag": "cloister-base",
    "region": "us-east-1",
    "nworkers": 2,
}


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    return tmp_path / "servers"


@pytest.fixture
def up(account: Account, servers: Path) -> Callable[..., Any]:
    """Launches the cluster, and ends when all of its nodes can be used."""

    def launched(**changes: Any) -> Any:
        return bring_up(
            account.spec(**changes),
            state=account.state,
            servers=servers,
            wait_s=10,
            report=account.events.append,
            say=lambda text: None,
        )

    return launched


@pytest.fixture
def here(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the account's configuration, in which commands are typed."""
    cluster = account.spec().model_dump(mode="json", exclude_unset=True)
    (tmp_path / "cloister.json").write_text(json.dumps({"cluster": cluster}))
    monkeypatch.setenv("CLOISTER_STATE", str(account.state))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changing(account: Account, since: int) -> list[Call]:
    return [c for c in account.cloud.calls()[since:] if not c.action.startswith(READING)]


@pytest.mark.parametrize(
    "command", [["destroy"], ["run-command", "true"], ["login"], ["copy-dns"], ["ls"], ["plan"]]
)
def test_a_command_without_a_cluster_makes_no_groups(
    account: Account, here: Path, command: list[str]
) -> None:
    before = len(account.cloud.calls())
    main(command)
    assert changing(account, before) == []
    assert account.billable() == []


def driver_only(account: Account, **changes: Any) -> dict[str, Any]:
    """A launch whose workers had no room; the roles that were asked for."""
    roles = {"driver": {"machine": "m7i.large"}, "workers": 2}
    account.cloud.set(capacity={"*/c7i.large/*": 0})
    try:
        with pytest.raises(ProviderError, match="no capacity left"):
            account.launch(roles=roles, **changes)
    finally:
        account.cloud.set(capacity={})
    return roles


def test_a_driver_without_workers_is_seen_and_destroyed(account: Account) -> None:
    driver_only(account)
    assert [entry.node.name for entry in account.observe().nodes] == ["driver1"]
    receipt = account.destroy()
    assert "node driver1" in receipt.removed
    assert account.billable() == []


def test_a_driver_without_workers_gets_them_and_no_second_driver(account: Account) -> None:
    roles = driver_only(account)
    (driver,) = account.living()
    account.launch(roles=roles)
    names = sorted(entry.node.name for entry in account.observe().nodes)
    assert names == ["driver1", "workers1", "workers2"]
    assert driver["id"] in {one["id"] for one in account.living()}
    assert len(account.living()) == 3


def test_a_configuration_without_root_size_is_launched(account: Account, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate().public_key()
    material = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    ec2 = boto3.client("ec2", region_name="us-east-1")
    ec2.import_key_pair(KeyName="someone-key", PublicKeyMaterial=material)
    file = tmp_path / "flat.json"
    file.write_text(json.dumps({**FLAT, "cluster_name": account.name}))
    spec = load((file,)).cluster
    assert spec is not None
    account_spec = spec.model_copy(update={"ssh": spec.ssh.model_copy(update={"port": 2222})})
    account.spec = lambda **changes: account_spec  # type: ignore[method-assign]
    try:
        account.launch()
        assert len(account.living()) == 3
        account.destroy()
    finally:
        ec2.delete_key_pair(KeyName="someone-key")


def rules() -> list[dict[str, Any]]:
    """Every rule in the account by which somebody may come in."""
    return [
        rule
        for region in REGIONS
        for rule in boto3.client("ec2", region_name=region).describe_security_group_rules()[
            "SecurityGroupRules"
        ]
        if not rule["IsEgress"]
    ]


def test_no_port_is_open_to_the_world(account: Account) -> None:
    regions = {"us-east-1": 1, "eu-west-1": 1}
    account.launch(
        roles={"manager": 1, "workers": {"regions": regions}},
        ec2={"expose": [{"port": 8080, "to": "192.0.2.0/24"}]},
    )
    found = rules()
    assert {rule.get("CidrIpv4") for rule in found} >= {"127.0.0.1/32", "192.0.2.0/24"}
    for rule in found:
        assert rule.get("CidrIpv4") != "0.0.0.0/0"
        assert "CidrIpv6" not in rule
    # Whole port ranges for the cluster's own nodes alone: its group, and their addresses.
    wide = [rule for rule in found if rule["IpProtocol"] == "-1"]
    own = {f"{one['address']}/32" for one in account.living()}
    assert all("ReferencedGroupInfo" in rule or rule["CidrIpv4"] in own for rule in wide)


def test_no_private_key_is_copied_to_a_node(account: Account, up: Callable[..., Any]) -> None:
    cluster = up()
    secret = (cluster.folder / "client_key").read_text().splitlines()[2]
    files = [
        path
        for one in account.living()
        for path in Path(one["home"]).rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    assert any(path.name == "servers.txt" for path in files)
    for path in files:
        text = path.read_bytes()
        assert secret.encode() not in text
        assert b"PRIVATE KEY" not in text


def instance_of(account: Account, name: str) -> str:
    nodes = {entry.node.name: entry.node for entry in account.observe().nodes}
    return str(nodes[name].labels["instance"])


def test_a_stopped_instance_is_dead_and_replaced_and_no_empty_line(
    account: Account, up: Callable[..., Any], servers: Path
) -> None:
    up()
    stopped = instance_of(account, "workers1")
    boto3.client("ec2", region_name="us-east-1").stop_instances(InstanceIds=[stopped])
    account.cloud.settle()
    with pytest.raises(PartlyDone, match=r"workers1: dead, .* is stopped"):
        open_cluster(account.name, state=account.state)
    up()
    assert instance_of(account, "workers1") != stopped
    assert stopped not in {one["id"] for one in account.living()}
    for path in servers.glob("*.txt"):
        lines = path.read_text().splitlines()
        assert lines and all(line.strip() for line in lines), path
    assert len((servers / "servers.txt").read_text().splitlines()) == 2


def test_a_foreign_instance_in_the_clusters_group_is_named_and_left_alone(
    account: Account,
) -> None:
    account.launch(roles={"workers": 1})
    ec2 = boto3.client("ec2", region_name="us-east-1")
    named = [{"Name": "tag:cloister:cluster", "Values": [account.name]}]
    (group,) = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    (theirs,) = ec2.run_instances(
        ImageId=image,
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        SecurityGroupIds=[group["GroupId"]],
    )["Instances"]
    try:
        with pytest.raises(ProviderError) as caught:
            account.destroy()
        assert f"{group['GroupId']} (us-east-1) by {theirs['InstanceId']}" in caught.value.message
        assert account.living() == []
        states = {one["id"]: one["state"] for one in account.cloud.instances()}
        assert states[theirs["InstanceId"]] == "running"
    finally:
        ec2.terminate_instances(InstanceIds=[theirs["InstanceId"]])
        account.cloud.settle()
    assert account.destroy().left == ()


COMMANDS = {
    """echo "$LOCAL_ONLY|'quoted'|" '"$HOME"'""": """|'quoted'| "$HOME\"""",
    r"""printf '%s\n' 'a  b' "c;d" 'e&f' \$g `echo h` $(echo i) \\""": "a  b\nc;d\ne&f\n$g\nh\ni\n\\",
    """x="two words"; echo "${#x} $x" '*' "!" """: "9 two words * !",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_quotes_and_dollars_reach_the_nodes_unchanged(
    account: Account,
    here: Path,
    up: Callable[..., Any],
    command: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_ONLY", "of this machine")
    up(roles={"workers": 1})
    assert main(["run-command", "--json", command]) == 0
    outcome = json.loads(capsys.readouterr().out)["workers1"]["outcome"]
    assert outcome["stdout"].rstrip("\n") == COMMANDS[command]


def test_the_configured_user_is_the_one_who_logs_in(account: Account, servers: Path) -> None:
    """The original had `ubuntu@` in nearly every command."""
    cluster = account.launch(roles={"workers": 1}, ssh={"user": "someone", "port": 2222})
    assert [node.user for node in cluster.nodes] == ["someone"]
    asked = subprocess.run(
        ["ssh", "-G", "-F", cluster.folder / "ssh_config", f"{account.name}.workers1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "user someone" in asked.stdout.splitlines()


def test_without_a_configured_user_it_is_the_images(account: Account) -> None:
    cluster = account.launch(roles={"workers": 1}, ec2={"image": "al2023"}, ssh={"port": 2222})
    assert [node.user for node in cluster.nodes] == ["ec2-user"]
