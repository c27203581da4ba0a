"""What things cost, in dollars: a small table, for the bill and for the pricing calls."""

from __future__ import annotations

from cloud.bill import HOUR_S, MONTH_S
from cloud.machine_types import vcpus

HOME_REGION = "us-east-1"
ELSEWHERE = 1.1
SPOT = 0.3
ON_DEMAND_PER_HOUR = {
    "t3.micro": 0.0104,
    "t3.medium": 0.0416,
    "c7i.large": 0.08925,
    "c7i.xlarge": 0.1785,
    "c7g.large": 0.0725,
    "m7i.large": 0.1008,
    "m7i.xlarge": 0.2016,
}
# A guess for the bill alone: types that the table does not have are not free either.
OTHERS_PER_VCPU_HOUR = 0.05
ADDRESS_PER_HOUR = 0.005
VOLUME_PER_GB_MONTH = 0.08
SNAPSHOT_PER_GB_MONTH = 0.05


def listed_per_hour(machine_type: str, region: str) -> float | None:
    """None when the price list has no such product."""
    price = ON_DEMAND_PER_HOUR.get(machine_type)
    if price is None:
        return None
    return price if region == HOME_REGION else round(price * ELSEWHERE, 6)


def instance_per_hour(machine_type: str, region: str, market: str) -> float:
    listed = listed_per_hour(machine_type, region)
    price = OTHERS_PER_VCPU_HOUR * vcpus(machine_type) if listed is None else listed
    return round(price * SPOT, 6) if market == "spot" else price


def instance_per_s(machine_type: str, region: str, market: str) -> float:
    return instance_per_hour(machine_type, region, market) / HOUR_S


def address_per_s() -> float:
    return ADDRESS_PER_HOUR / HOUR_S


def volume_per_s(size_gb: int) -> float:
    return VOLUME_PER_GB_MONTH * size_gb / MONTH_S


def snapshot_per_s(size_gb: int) -> float:
    return SNAPSHOT_PER_GB_MONTH * size_gb / MONTH_S
