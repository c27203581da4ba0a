"""Prices, bills, leases by schedule, and the leak oracle."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from cloud.client import Cloud
from cloud.conftest import Client
from cloud.using import described, import_key, in_state, launch, refusal

SETTINGS = {"api_only": True}
MICRO, ADDRESS, VOLUME = 0.0104 / 3600, 0.005 / 3600, 0.08 * 8 / (730 * 3600)


def on_demand(client: Client, machine_type: str, region: str, **more: str) -> list[float]:
    wanted = {
        "instanceType": machine_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        **more,
    }
    filters = [
        {"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()
    ]
    reply = client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)
    prices = []
    for text in reply["PriceList"]:
        (term,) = json.loads(text)["terms"]["OnDemand"].values()
        (dimension,) = term["priceDimensions"].values()
        prices.append(float(dimension["pricePerUnit"]["USD"]))
    return prices


@pytest.mark.parametrize(
    ("machine_type", "region", "price"),
    [
        ("t3.micro", "us-east-1", [0.0104]),
        ("c7i.large", "us-east-1", [0.08925]),
        ("c7i.large", "eu-central-1", [0.098175]),
        ("c7g.large", "us-east-1", [0.0725]),
        ("p5.48xlarge", "us-east-1", []),
    ],
)
def test_on_demand_prices(
    client: Client, machine_type: str, region: str, price: list[float]
) -> None:
    assert on_demand(client, machine_type, region) == price


def test_prices_of_volumes_and_addresses(client: Client) -> None:
    for service, field, value, price in (
        ("AmazonEC2", "volumeApiName", "gp3", "0.0800000000"),
        ("AmazonVPC", "usagetype", "PublicIPv4:InUseAddress", "0.0050000000"),
    ):
        reply = client("pricing").get_products(
            ServiceCode=service,
            Filters=[
                {"Type": "TERM_MATCH", "Field": field, "Value": value},
                {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "us-east-1"},
            ],
        )
        assert len(reply["PriceList"]) == 1 and f'"USD": "{price}"' in reply["PriceList"][0]


def test_spot_prices(client: Client) -> None:
    history = client("ec2").describe_spot_price_history(
        InstanceTypes=["c7i.large"], ProductDescriptions=["Linux/UNIX"]
    )["SpotPriceHistory"]
    assert {float(one["SpotPrice"]) for one in history} == {0.026775}
    assert len({one["AvailabilityZone"] for one in history}) == len(history) > 1


def test_quotas(cloud: Cloud, client: Client) -> None:
    cloud.set(vcpu_limit=32)
    quotas = client("service-quotas")
    one = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]
    assert one["Value"] == 32.0
    every = quotas.list_service_quotas(ServiceCode="ec2")["Quotas"]
    assert "L-1216C47A" in {quota["QuotaCode"] for quota in every}
    with refusal("NoSuchResourceException"):
        quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-0")


def test_the_caller_has_an_identity(client: Client) -> None:
    assert client("sts").get_caller_identity()["Account"] == "123456789012"


def test_an_hour_is_billed_by_the_second(cloud: Cloud, client: Client) -> None:
    ec2 = client("ec2", "us-east-1")
    before = cloud.dollars()
    (instance,) = launch(ec2)
    in_state(ec2, instance, "running")
    cloud.advance(3600)
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    billed = cloud.dollars() - before
    assert billed == pytest.approx(3600 * (MICRO + ADDRESS + VOLUME), rel=0.01)
    cloud.advance(3600)
    assert cloud.dollars() - before == pytest.approx(billed)


def test_a_start_costs_a_minute_at_least(cloud: Cloud, client: Client) -> None:
    ec2 = client("ec2", "us-east-1")
    before = cloud.dollars()
    (instance,) = launch(ec2, InstanceMarketOptions={"MarketType": "spot"})
    in_state(ec2, instance, "running")
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.settle()
    assert cloud.dollars() - before == pytest.approx(60 * 0.3 * MICRO, rel=0.3)


def test_simulated_time_can_be_faster(cloud: Cloud, client: Client) -> None:
    before = cloud.dollars()
    (instance,) = launch(client("ec2", "us-east-1"))
    in_state(client("ec2", "us-east-1"), instance, "running")
    cloud.set(time_scale=1e6)
    cloud.set(time_scale=1.0)
    assert cloud.dollars() - before > 100 * MICRO
    client("ec2", "us-east-1").terminate_instances(InstanceIds=[instance])


def test_nothing_is_billable_after_everything_is_deleted(
    tmp_path: Path, session: Any, key: Path
) -> None:
    with Cloud.start(tmp_path, api_only=True) as cloud:
        assert cloud.billable() == []
        ec2 = session.client("ec2", region_name="eu-west-3", endpoint_url=cloud.endpoint)
        ec2.describe_instances()
        assert cloud.billable() == []
        name = import_key(ec2, key, "k")
        group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
        ec2.create_placement_group(GroupName="p", Strategy="spread")
        ids = launch(ec2, 2, KeyName=name, SecurityGroupIds=[group])
        kinds = {line.split()[1] for line in cloud.billable()}
        assert kinds == {
            *("instance", "network-interface", "volume"),
            *("security-group", "key-pair", "placement-group"),
        }
        ec2.terminate_instances(InstanceIds=ids)
        cloud.settle()
        ec2.delete_security_group(GroupId=group)
        ec2.delete_placement_group(GroupName="p")
        ec2.delete_key_pair(KeyName=name)
        assert cloud.billable() == []


def test_a_schedule_ends_instances(cloud: Cloud, client: Client, region: str) -> None:
    ec2, scheduler = client("ec2", region), client("scheduler", region)
    (instance,) = launch(ec2)
    in_state(ec2, instance, "running")
    now = datetime.datetime.now(datetime.UTC)
    # The simulation's clock is ahead of ours by what tests have skipped.
    at = now + datetime.timedelta(days=365)
    scheduler.create_schedule(
        Name="lease",
        ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances",
            "RoleArn": "arn:aws:iam::123456789012:role/lease",
            "Input": json.dumps({"InstanceIds": [instance]}),
        },
    )
    assert scheduler.get_schedule(Name="lease")["Name"] == "lease"
    assert [one["Name"] for one in scheduler.list_schedules()["Schedules"]] == ["lease"]
    assert f"{region} schedule lease" in "\n".join(cloud.billable())
    cloud.advance(300 * 86400)
    assert described(ec2, instance)["State"]["Name"] == "running"
    cloud.advance(66 * 86400)
    # A day later the instance itself is forgotten, so the truth is asked.
    states = {one["id"]: one["state"] for one in cloud.instances()}
    assert states[instance] == "terminated"
    assert scheduler.list_schedules()["Schedules"] == []


def test_schedules_are_deleted(cloud: Cloud, client: Client, region: str) -> None:
    scheduler = client("scheduler", region)
    scheduler.create_schedule(
        Name="gone",
        ScheduleExpression="at(2099-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances",
            "RoleArn": "arn:aws:iam::123456789012:role/lease",
        },
    )
    scheduler.delete_schedule(Name="gone")
    with refusal("ResourceNotFoundException"):
        scheduler.get_schedule(Name="gone")
    assert "schedule gone" not in "\n".join(cloud.billable())
