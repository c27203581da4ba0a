"""cloister's own launch and destroy."""

from __future__ import annotations

import getpass
import time
from pathlib import Path

from launch_order import Order, Outcome, carry_out

from cloister.cluster import lifecycle
from cloister.config.spec import ClusterSpec
from cloister.providers.provider import NodeEvent


def launch(order: Order) -> Outcome:
    ready_s = [0.0]

    def report(event: NodeEvent) -> None:
        if event.kind == "running":
            ready_s[0] = time.time()

    lifecycle.launch(_spec(order), state=Path(order.folder), report=report)
    return Outcome(ready_s=ready_s[0])


def destroy(order: Order) -> Outcome:
    lifecycle.destroy(order.name, state=Path(order.folder), spec=_spec(order))
    return Outcome()


def _spec(order: Order) -> ClusterSpec:
    return ClusterSpec.model_validate(
        {
            "name": order.name,
            "provider": "ec2",
            "roles": {"manager": 1, "workers": order.nodes - 1},
            "ssh": {"user": getpass.getuser(), "port": order.port},
            "ec2": {"region": order.region, "machine": "c7i.large", "image": order.image},
        }
    )


if __name__ == "__main__":
    carry_out({"launch": launch, "destroy": destroy})
