"""What a user who bakes has: an instance of their own, which cloister did not launch, and its images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
from cloud.client import Cloud
from cloud.using import in_state, launch
from ec2_account import Account

from cloister.cluster.images import Baked, bake, images, prune
from cloister.config.spec import ClusterSpec
from cloister.plan.images import ObservedImages, Pruning

REGION = "us-east-1"


def client(cloud: Cloud, region: str = REGION) -> Any:
    return boto3.client(
        "ec2",
        region_name=region,
        endpoint_url=cloud.endpoint,
        aws_access_key_id="AKIASIMULATED0000000",
        aws_secret_access_key="simulated",
    )


def development_instance(ec2: Any, **more: Any) -> dict[str, Any]:
    """Running, as AWS describes it; without any tags."""
    (instance,) = launch(ec2, InstanceType="c7i.large", **more)
    return in_state(ec2, instance, "running")


class Bakery(Account):
    """An account whose images begin with its name, and that has a development instance."""

    def __init__(self, cloud: Cloud, state: Path, name: str, address: str) -> None:
        super().__init__(cloud, state, name)
        self.address = address
        self.said_lines: list[str] = []

    def spec(self, **changes: Any) -> ClusterSpec:
        ec2 = {
            "image": {"ami": "latest", "ami_tag": self.name},
            "development": self.address,
            **changes.pop("ec2", {}),
        }
        return super().spec(ec2=ec2, **changes)

    def bake(self, *, changes: dict[str, Any] | None = None, **options: Any) -> Baked:
        spec = self.spec(**(changes or {}))
        return bake(spec, state=self.state, say=self.said_lines.append, **options)

    def images(self, **options: Any) -> list[ObservedImages]:
        return images(self.spec(), state=self.state, **options)

    def prune(self, keep: int, **options: Any) -> list[Pruning]:
        return prune(self.spec(), state=self.state, keep=keep, **options)

    def elsewhere(self, state: Path) -> Bakery:
        return Bakery(self.cloud, state, self.name, self.address)

    def own(self) -> list[str]:
        """The names of its images as the cloud knows them, oldest first."""
        lines = [line.split() for line in self.cloud.billable() if " image " in line]
        return sorted(words[3] for words in lines if words[3].startswith(self.name))

    def snapshots(self) -> list[str]:
        """The ids of all snapshots that there are."""
        return [line.split()[2] for line in self.cloud.billable() if " snapshot " in line]
