"""Flintrock's own launch and destroy (the package, not a copy), in an interpreter that has it.

Its steps, pauses and threads are its own. Only what needs real nodes is taken away: a login is over when
the SSH server greets, and nothing is installed then. A refusal looks to it as paramiko's does.
"""

from __future__ import annotations

import time
from typing import Any

import paramiko
from flintrock import core, ec2
from launch_order import Order, Outcome, carry_out, greets

_PORT = 22


def launch(order: Order) -> Outcome:
    ready_s: list[float] = []

    def connect(client: Any, *, hostname: str, **_: Any) -> None:
        try:
            greets(hostname, order.port)
        except ConnectionRefusedError as error:
            places = {(hostname, _PORT): error}
            raise paramiko.ssh_exception.NoValidConnectionsError(places) from None

    def installed(**_: Any) -> None:
        ready_s.append(time.time())

    paramiko.client.SSHClient.connect = connect
    core.setup_node = installed
    core.ssh_check_output = lambda **_: ""
    ec2.launch(
        cluster_name=order.name,
        num_slaves=order.nodes - 1,
        java_version=11,
        services=[],
        assume_yes=True,
        key_name=order.key_pair,
        identity_file="",
        instance_type="c7i.large",
        region=order.region,
        availability_zone="",
        ami=order.image,
        user="ubuntu",
        security_groups=[],
        spot_price=None,
        min_root_ebs_size_gb=30,
        vpc_id="",
        subnet_id="",
        instance_profile_name="",
        placement_group="",
        tenancy="default",
        ebs_optimized=False,
        instance_initiated_shutdown_behavior="stop",
        user_data=None,
        tags=[],
        ec2_authorize_access_from=["127.0.0.1/32"],
    )
    return Outcome(ready_s=max(ready_s))


def destroy(order: Order) -> Outcome:
    vpc = ec2.get_default_vpc(region=order.region).id
    ec2.get_cluster(cluster_name=order.name, region=order.region, vpc_id=vpc).destroy()
    return Outcome()


if __name__ == "__main__":
    carry_out({"launch": launch, "destroy": destroy})
