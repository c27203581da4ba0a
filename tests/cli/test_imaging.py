"""`bake`, `images` and `images prune` as they are typed, on the simulated EC2."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from bakery import client, development_instance
from calling import Caller, wait_until
from cloud.client import Cloud

CONFIGURATION = """
cluster:
  name: small
  provider: ec2
  roles: {{workers: 1}}
  ec2:
    region: us-east-1
    machine: c7i.large
    image: {{ami: latest, ami_tag: small}}
    development: {address}
"""


@pytest.fixture(scope="module")
def address(cloud: Cloud) -> str:
    return str(development_instance(client(cloud))["PublicIpAddress"])


@pytest.fixture
def imaging(
    here: Caller, cloud: Cloud, address: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Caller]:
    """A folder with a configuration whose development instance is in the cloud."""
    for name, value in cloud.variables.items():
        monkeypatch.setenv(name, value)
    (here.folder / "cloister.yaml").write_text(CONFIGURATION.format(address=address))
    yield here
    cloud.set(image_s=0.05)
    here.ok("images", "prune", "--keep", "0", "--prefix", "small", "--yes")
    assert not made(cloud)


def made(cloud: Cloud) -> list[str]:
    return [line for line in cloud.billable() if " image " in line]


def baked_names(imaging: Caller) -> list[str]:
    listed: list[dict[str, Any]] = imaging.ok("images", "--json").json
    return [image["name"] for image in listed if image["by_cloister"]]


def test_what_bake_made_is_listed_and_planned_with(imaging: Caller) -> None:
    first = imaging.ok("bake")
    assert "8 GiB, x86_64, made of" in first.stdout
    assert "which is rebooted now" in first.stderr and "rebooted" not in first.stdout
    second = imaging.ok("bake", "--no-reboot", "--json").json
    lines = [line for line in imaging.ok("images").stdout.splitlines() if "by cloister" in line]
    assert [line.split()[0] for line in lines] == [second["name"], first.stdout.split(":")[0]]
    assert ["ami: latest" in line for line in lines] == [True, False]
    assert second["id"] in imaging.ok("plan").stdout


def test_prune_shows_what_it_would_do_and_does_it_with_yes(imaging: Caller) -> None:
    names = [imaging.ok("bake", "--json").json["name"] for _ in range(2)]
    shown = imaging.ok("images", "prune", "--keep", "1").stdout
    assert f"would remove image {names[0]}" in shown and "--yes does it" in shown
    assert sorted(baked_names(imaging)) == names
    pruned = imaging.ok("images", "prune", "--keep", "1", "--yes", "--json").json
    assert pruned["done"] and pruned["regions"][0]["removed"][0]["name"] == names[0]
    assert baked_names(imaging) == names[1:]
    assert "nothing to remove" in imaging.ok("images", "prune", "--keep", "1").stdout


def test_an_interrupted_bake_says_how_it_goes_on(imaging: Caller, cloud: Cloud) -> None:
    cloud.set(image_s=3.0)
    process = imaging.start("bake")
    wait_until(lambda: bool(made(cloud)), "the image is being made", 60)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "`cloister bake` again waits for it" in errors and "Traceback" not in errors
    assert "continuing the bake of" in imaging.ok("bake").stderr
    assert len(baked_names(imaging)) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("images", "prune"), "Missing option '--keep'"),
        (("images", "--all-regions", "prune", "--keep", "1"), "stands after `prune`"),
        (("bake", "--instance", "workers7"), "nor a node of cluster small"),
    ],
)
def test_wrong_usage(imaging: Caller, arguments: tuple[str, ...], why: str) -> None:
    called = imaging(*arguments)
    assert called.status == 2 and why in called.stderr


def test_images_are_listed_without_a_configuration(imaging: Caller) -> None:
    (imaging.folder / "cloister.yaml").unlink()
    assert "cloister-base-20260102" in imaging.ok("images").stdout
    called = imaging("images", "prune", "--keep", "0")
    assert called.status == 2 and "--prefix" in called.stderr
