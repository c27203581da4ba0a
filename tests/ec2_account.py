"""What a user does on one machine with one cluster on the simulated EC2."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

from cloud.client import Cloud

from cloister.cluster import Cluster
from cloister.cluster.lifecycle import Receipt, destroy, launch, observe
from cloister.config.spec import ClusterSpec
from cloister.plan.observed import Observed
from cloister.providers.provider import NodeEvent, Report


class Account:
    """`state` is the state folder of that machine."""

    def __init__(self, cloud: Cloud, state: Path, name: str) -> None:
        self.cloud, self.state, self.name = cloud, state, name
        self.events: list[NodeEvent] = []

    def spec(self, **changes: Any) -> ClusterSpec:
        ec2 = {"region": "us-east-1", "machine": "c7i.large", "image": "ubuntu-24.04"}
        data = {
            "name": self.name,
            "provider": "ec2",
            "roles": {"manager": 1, "workers": 2},
            "ssh": {"user": getpass.getuser(), "port": 2222},
        }
        return ClusterSpec.model_validate(
            {**data, **changes, "ec2": {**ec2, **changes.get("ec2", {})}}
        )

    def launch(self, *, report: Report | None = None, **changes: Any) -> Cluster:
        spec = self.spec(**changes)
        return launch(spec, state=self.state, report=report or self.events.append)

    def observe(self) -> Observed:
        return observe(self.name, state=self.state, spec=self.spec())

    def destroy(self) -> Receipt:
        return destroy(self.name, state=self.state, spec=self.spec())

    def elsewhere(self, state: Path) -> Account:
        """The same cluster from a machine that knows nothing of it."""
        return Account(self.cloud, state, self.name)

    def expires(self) -> int:
        """The end of the lease, as the cluster's group says it; Unix seconds."""
        expires = self.observe().expires
        assert expires is not None
        return expires

    def retag(self, changes: dict[str, str], region: str = "us-east-1") -> None:
        """Tags of everything of the cluster in a region, changed by hand."""
        import boto3

        ec2 = boto3.client("ec2", region_name=region, endpoint_url=self.cloud.endpoint)
        filters = [
            {"Name": "key", "Values": ["cloister:cluster"]},
            {"Name": "value", "Values": [self.name]},
        ]
        ids = [entry["ResourceId"] for entry in ec2.describe_tags(Filters=filters)["Tags"]]
        ec2.create_tags(
            Resources=ids, Tags=[{"Key": key, "Value": value} for key, value in changes.items()]
        )

    def living(self) -> list[dict[str, Any]]:
        return [
            instance
            for instance in self.cloud.instances()
            if instance["tags"].get("cloister:cluster") == self.name
            and instance["state"] not in ("shutting-down", "terminated")
        ]

    def billable(self) -> list[str]:
        """The lines of the leak oracle about this cluster."""
        return [line for line in self.cloud.billable() if self.name in line]

    def called(self, action: str) -> int:
        return sum(1 for call in self.cloud.calls() if call.action == action)

    def said(self, kind: str) -> list[str]:
        return [f"{e.node}: {e.detail}" for e in self.events if e.kind == kind]
