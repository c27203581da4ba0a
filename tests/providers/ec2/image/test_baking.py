"""Images baked of an instance that is the user's own, listed and pruned, on the simulated EC2."""

from __future__ import annotations

import dataclasses
import json
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bakery import REGION, Bakery, client, development_instance
from cloud.client import Cloud
from cloud.using import eventually

from cloister.cluster.images import bake, prune
from cloister.config.loading import load
from cloister.config.spec import ClusterSpec
from cloister.errors import Busy, ProviderError, UsageError
from cloister.plan.images import pruning
from cloister.providers.ec2 import api
from cloister.providers.ec2.api import Aws
from cloister.providers.ec2.image.own_images import remove_images
from cloister.transport.links import Links

POLICY = json.loads((Path(__file__).parents[4] / "docs/iam/cloister-policy.json").read_text())


@pytest.fixture(scope="module")
def ec2(cloud: Cloud) -> Any:
    return client(cloud)


@pytest.fixture(scope="module")
def development(ec2: Any) -> dict[str, Any]:
    return development_instance(ec2)


@pytest.fixture
def bakery(
    cloud: Cloud, development: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bakery]:
    """Nothing of its images may be left by prune."""
    for name, value in cloud.variables.items():
        monkeypatch.setenv(name, value)
    name = f"t{secrets.token_hex(4)}"
    bakery = Bakery(cloud, tmp_path / "state", name, development["PublicIpAddress"])
    yield bakery
    cloud.set(lose_reply=[], refuse=[], images_fail="", image_s=0.05, policy=None)
    bakery.destroy()
    bakery.prune(0)
    assert bakery.billable() == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "VISIBLE_WITHIN_S", 0.5)


def intents(bakery: Bakery) -> list[dict[str, Any]]:
    [path] = bakery.state.glob("images/*/*/journal.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def unfinished(bakery: Bakery) -> None:
    """As a bake leaves it that is killed when AWS has just answered."""
    [path] = bakery.state.glob("images/*/*/journal.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    assert '"settled"' in lines[-1]
    path.write_text("".join(lines[:-1]))


# --- bake ----------------------------------------------------------------------------------------


def test_an_image_is_made_of_the_development_instance_and_found_as_latest(bakery: Bakery) -> None:
    first = bakery.bake().image
    second = bakery.bake().image
    assert bakery.own() == [first.name, second.name]
    assert first.name.startswith(f"{bakery.name}-20")
    [seen] = bakery.images()
    latest = [image.id for image in seen.images if image.latest]
    assert latest == [second.id]


def test_nodes_launched_of_it_have_what_the_instance_had(
    bakery: Bakery, development: dict[str, Any]
) -> None:
    [home] = [
        one["home"] for one in bakery.cloud.instances() if one["id"] == development["InstanceId"]
    ]
    (Path(home) / "built.txt").write_text(f"for {bakery.name}\n")
    bakery.bake()
    cluster = bakery.launch(roles={"workers": 1})
    with Links(marks=cluster.marks, pin=lambda node, key: None) as links:
        outcomes = links.run(cluster.nodes, "cat ~/built.txt").raise_first()
    assert [one.stdout for one in outcomes.values()] == [f"for {bakery.name}\n".encode()]


def test_image_and_snapshots_are_tagged_by_the_call_that_makes_them(
    bakery: Bakery, ec2: Any
) -> None:
    made = bakery.bake().image
    call = [c for c in bakery.cloud.calls() if c.action == "CreateImage"][-1]
    assert {call.parameters[f"TagSpecification.{n}.ResourceType"] for n in (1, 2)} == {
        "image",
        "snapshot",
    }
    filters = [{"Name": "tag:cloister:image", "Values": [bakery.name]}]
    [image] = ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
    [snapshot] = ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
    assert (image["ImageId"], snapshot["SnapshotId"]) == (made.id, *made.snapshots)
    assert image["Tags"] == snapshot["Tags"]
    assert "CreateTags" not in {c.action for c in bakery.cloud.calls() if c.number > call.number}


def test_the_call_is_on_disk_before_it_is_made_and_its_end_after(bakery: Bakery) -> None:
    made = bakery.bake().image
    begun, ended = intents(bakery)
    assert begun["request"]["Name"] == made.name and begun["action"] == "create_image"
    assert (ended["settled"], ended["outcome"]) == (begun["intent"], made.id)


@pytest.mark.parametrize("no_reboot", [False, True])
def test_the_instance_is_rebooted_unless_that_is_declined(bakery: Bakery, no_reboot: bool) -> None:
    bakery.bake(reboot=not no_reboot)
    call = [c for c in bakery.cloud.calls() if c.action == "CreateImage"][-1]
    assert call.parameters["NoReboot"] == str(no_reboot).lower()
    assert ("is not rebooted" if no_reboot else "is rebooted now") in bakery.said_lines[0]


@pytest.mark.parametrize("key", ["PublicIpAddress", "PrivateDnsName", "InstanceId", "name"])
def test_the_instance_is_found_by_any_name_it_has(
    bakery: Bakery, development: dict[str, Any], key: str
) -> None:
    # What only the resolver knows to be the instance's address.
    digits = bytes(int(part) for part in bakery.address.split(".")).hex()
    known = {**development, "name": f"0x{digits}"}
    baked = bakery.bake(changes={"ec2": {"development": known[key]}}, reboot=False)
    assert baked.source.instance == development["InstanceId"]


def test_an_instance_that_is_not_there_is_said_and_nothing_is_made(bakery: Bakery) -> None:
    with pytest.raises(ProviderError, match=r"no instance 192\.0\.2\.7 .* in us-east-1") as caught:
        bakery.bake(changes={"ec2": {"development": "192.0.2.7"}})
    assert "--instance" in caught.value.hint
    assert bakery.own() == [] and not (bakery.state / "images").exists()


def test_a_terminated_instance_is_none(bakery: Bakery, ec2: Any) -> None:
    gone = development_instance(ec2)
    ec2.terminate_instances(InstanceIds=[gone["InstanceId"]])
    bakery.cloud.settle()
    with pytest.raises(ProviderError, match="there is no instance"):
        bakery.bake(instance=gone["InstanceId"])


def test_a_stopped_instance_is_baked_as_it_is(bakery: Bakery, ec2: Any) -> None:
    stopped = development_instance(ec2)["InstanceId"]
    ec2.stop_instances(InstanceIds=[stopped])
    bakery.cloud.settle()
    bakery.bake(instance=stopped)
    assert "is stopped, and stays so" in bakery.said_lines[0]
    ec2.terminate_instances(InstanceIds=[stopped])


def test_a_node_is_baked_without_a_reboot(bakery: Bakery) -> None:
    """Which would end what runs on it."""
    bakery.bake()
    bakery.launch(roles={"workers": 2})
    baked = bakery.bake(instance="workers2", name=f"{bakery.name}/of-a-node.")
    call = [c for c in bakery.cloud.calls() if c.action == "CreateImage"][-1]
    assert call.parameters["NoReboot"] == "true"
    assert baked.image.name.startswith(f"{bakery.name}/of-a-node.20")
    assert any(f"a node of cluster {bakery.name}" in line for line in bakery.said_lines)
    with pytest.raises(UsageError, match="neither an instance"):
        bakery.bake(instance="workers3")
    bakery.destroy()
    bakery.prune(0, prefix=f"{bakery.name}/of-a-node.")


@pytest.mark.parametrize(
    ("changes", "options", "why"),
    [
        ({"ec2": {"development": None}}, {}, "names no development instance"),
        ({"ec2": {"image": "debian-12"}}, {}, "has no ami_tag"),
        ({"provider": "local"}, {}, "is not on EC2"),
        ({}, {"name": "what?"}, "no image's name can begin"),
        ({}, {"name": "x" * 120}, "no image's name can begin"),
    ],
)
def test_what_cannot_be_baked_is_wrong_usage(
    bakery: Bakery, changes: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        bakery.bake(changes=changes, **options)
    assert bakery.own() == []


def test_the_flat_json_of_the_first_cloister_is_enough(bakery: Bakery, tmp_path: Path) -> None:
    flat = {
        "cluster_name": bakery.name,
        "identity_file": "key",
        "key_pair": "key.pem",
        "user": "ubuntu",
        "instance_type": "c7i.large",
        "ami": "latest",
        "ami_tag": bakery.name,
        "ami_instance_ip": bakery.address,
        "region": "us-east-1",
        "nworkers": 1,
        "master_file": "servers/master.txt",
    }
    (tmp_path / "old.json").write_text(json.dumps(flat))
    spec = load((tmp_path / "old.json",)).cluster
    assert isinstance(spec, ClusterSpec)
    assert bake(spec, state=bakery.state).image.name in bakery.own()


def test_a_failed_image_is_removed_and_the_reason_of_aws_is_said(bakery: Bakery) -> None:
    before = bakery.snapshots()
    bakery.cloud.set(images_fail="the disk is broken")
    with pytest.raises(ProviderError, match=r"failed: .*the disk is broken"):
        bakery.bake()
    assert bakery.own() == [] and bakery.snapshots() == before
    bakery.cloud.set(images_fail="")
    bakery.bake()
    assert len(bakery.own()) == 1


def test_progress_is_told(bakery: Bakery) -> None:
    bakery.cloud.set(image_s=0.5)
    bakery.bake()
    assert any(": pending, 0 % copied" in line for line in bakery.said_lines)


# --- bake again ----------------------------------------------------------------------------------


def test_a_bake_that_was_cut_off_is_continued_and_makes_no_second_image(bakery: Bakery) -> None:
    first = bakery.bake().image
    unfinished(bakery)
    assert bakery.bake().image == first
    assert any(line.startswith("continuing the bake of") for line in bakery.said_lines)
    assert bakery.own() == [first.name]
    assert bakery.bake().image != first


def test_a_bake_that_aws_never_heard_of_is_made_under_its_own_name(bakery: Bakery) -> None:
    first = bakery.bake().image
    bakery.prune(0)
    unfinished(bakery)
    again = bakery.bake().image
    assert again.name == first.name and again.id != first.id
    assert bakery.own() == [again.name]


def test_a_bake_that_aws_may_not_have_heard_of_does_not_reboot_against_the_users_will(
    bakery: Bakery,
) -> None:
    bakery.bake()
    bakery.prune(0)
    unfinished(bakery)
    bakery.bake(reboot=False)
    calls = [call for call in bakery.cloud.calls() if call.action == "CreateImage"]
    assert calls[-1].parameters["NoReboot"] == "true"
    assert len(bakery.own()) == 1


@pytest.mark.parametrize("how", ["anew", "another prefix", "an hour later"])
def test_what_was_cut_off_is_left_alone_when_another_image_is_wanted(
    bakery: Bakery, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bakery.bake().image
    unfinished(bakery)
    if how == "an hour later":
        [path] = bakery.state.glob("images/*/*/journal.jsonl")
        entry = json.loads(path.read_text())
        path.write_text(json.dumps(entry | {"time": entry["time"] - 3700}) + "\n")
    options = {"anew": {"anew": True}, "another prefix": {"name": f"{bakery.name}x"}}
    second = bakery.bake(**options.get(how, {})).image
    assert bakery.own() == sorted((first.name, second.name))
    assert any("is left as it is" in line and first.id in line for line in bakery.said_lines)
    bakery.prune(0, prefix=f"{bakery.name}x")


def test_the_reply_of_aws_may_be_lost(bakery: Bakery) -> None:
    bakery.cloud.set(lose_reply=["CreateImage#1"])
    made = bakery.bake().image
    assert bakery.own() == [made.name]


def test_a_name_that_somebody_else_has_is_not_adopted(
    bakery: Bakery, ec2: Any, development: dict[str, Any]
) -> None:
    made = bakery.bake().image
    unfinished(bakery)
    bakery.prune(0)
    other = ec2.create_image(InstanceId=development["InstanceId"], Name=made.name, NoReboot=True)
    with pytest.raises(ProviderError, match="is not of this bake"):
        bakery.bake()
    bakery.prune(0)
    assert bakery.own() == [made.name]
    assert bakery.bake().image.name != made.name
    ec2.deregister_image(ImageId=other["ImageId"], DeleteAssociatedSnapshots=True)


def test_a_refused_call_is_an_error_and_no_bake_to_continue(bakery: Bakery) -> None:
    bakery.cloud.set(refuse=[{"action": "CreateImage", "nth": 1, "code": "UnauthorizedOperation"}])
    with pytest.raises(ProviderError, match="UnauthorizedOperation"):
        bakery.bake()
    bakery.bake()
    assert not any("continuing" in line for line in bakery.said_lines)
    assert len(bakery.own()) == 1


def test_one_bake_at_a_time_in_a_region(bakery: Bakery) -> None:
    bakery.cloud.set(image_s=1.0)
    first = threading.Thread(target=bakery.bake)
    first.start()
    eventually(lambda: bakery.own() or None, "the image is being made")
    with pytest.raises(Busy, match=r"region us-east-1 \(images\) is busy: `cloister bake`"):
        bakery.bake(wait_s=0)
    first.join()
    assert len(bakery.own()) == 1


# --- images and prune ----------------------------------------------------------------------------


def test_all_images_of_the_account_are_listed_and_no_others(bakery: Bakery) -> None:
    made = bakery.bake().image
    [seen] = bakery.images()
    by_name = {image.name: image for image in seen.images}
    assert by_name[made.name].is_cloisters and by_name[made.name].latest
    assert not by_name["cloister-base-20260102"].is_cloisters
    assert not any(name.startswith("ubuntu") for name in by_name)
    regions = [each.region for each in bakery.images(everywhere=True)]
    assert regions == ["eu-west-1", "us-east-1", "us-west-2"]


def test_prune_keeps_the_newest_and_removes_the_others_with_their_snapshots(bakery: Bakery) -> None:
    before = len(bakery.snapshots())
    names = [bakery.bake(reboot=False).image.name for _ in range(3)]
    [shown] = bakery.prune(1, dry_run=True)
    assert [entry.image.name for entry in shown.removed] == names[1::-1]
    assert bakery.own() == names
    bakery.prune(1)
    assert bakery.own() == names[2:]
    assert len(bakery.snapshots()) == before + 1
    assert bakery.prune(1)[0].removed == ()


def test_what_does_not_carry_cloisters_tags_is_never_touched(
    bakery: Bakery, ec2: Any, development: dict[str, Any]
) -> None:
    name = f"{bakery.name}-by-hand"
    other = ec2.create_image(InstanceId=development["InstanceId"], Name=name, NoReboot=True)
    bakery.bake()
    bakery.prune(0)
    assert bakery.own() == [name]
    ec2.deregister_image(ImageId=other["ImageId"], DeleteAssociatedSnapshots=True)


def test_an_image_that_a_node_runs_on_is_kept(bakery: Bakery) -> None:
    bakery.bake()
    bakery.launch(roles={"workers": 1})
    bakery.bake()
    [pruned] = bakery.prune(0)
    assert len(pruned.removed) == 1
    assert [entry.why.endswith("runs on it") for entry in pruned.kept] == [True]
    assert len(bakery.own()) == 1


def test_a_snapshot_that_a_killed_prune_left_is_removed_by_the_next(
    bakery: Bakery, ec2: Any
) -> None:
    before = bakery.snapshots()
    ec2.deregister_image(ImageId=bakery.bake().image.id)
    assert len(bakery.snapshots()) == len(before) + 1
    [pruned] = bakery.prune(3)
    assert len(pruned.orphans) == 1
    assert bakery.snapshots() == before


def test_prune_works_from_any_machine_and_without_a_configuration(
    bakery: Bakery, tmp_path: Path
) -> None:
    bakery.bake()
    with pytest.raises(UsageError, match="of which images"):
        prune(None, state=tmp_path / "other", keep=0)
    prune(None, state=tmp_path / "other", keep=0, prefix=bakery.name)
    assert bakery.own() == []


def test_replies_lost_by_prune_are_no_errors(bakery: Bakery) -> None:
    bakery.bake()
    bakery.cloud.set(lose_reply=["DeregisterImage#1", "DeleteSnapshot#1"])
    bakery.prune(0)
    assert bakery.own() == []


def test_a_snapshot_that_another_image_uses_is_told(bakery: Bakery, impatient: None) -> None:
    bakery.bake()
    rule = {"action": "DeleteSnapshot", "nth": None, "code": "InvalidSnapshot.InUse"}
    bakery.cloud.set(refuse=[rule])
    with pytest.raises(ProviderError, match="still in use in us-east-1: snap-"):
        bakery.prune(0)


def test_a_snapshot_whose_image_was_not_seen_yet_is_no_orphan(
    bakery: Bakery, impatient: None
) -> None:
    bakery.bake()
    (seen,) = bakery.images()
    early = dataclasses.replace(seen, images=())
    chosen = pruning(early, prefix=bakery.name, keep=0)
    assert len(chosen.orphans) == 1
    remove_images(Aws(region=REGION), chosen)
    assert len(bakery.own()) == len(bakery.snapshots()) == 1
    bakery.prune(0)
    assert bakery.snapshots() == []


@pytest.mark.parametrize("lost", [[], ["CreateImage#1", "DeregisterImage#1", "DeleteSnapshot#1"]])
def test_the_documented_policy_permits_it(bakery: Bakery, lost: list[str]) -> None:
    """What is gone has no tags, so the repeated call is refused under a policy that asks for one."""
    bakery.cloud.set(policy=POLICY, lose_reply=lost)
    made = bakery.bake().image
    assert bakery.own() == [made.name]
    bakery.prune(0)
    assert bakery.own() == []
