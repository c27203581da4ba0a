"""The Price List: GetProducts for the machines, volumes and addresses whose prices are known here."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import botocore.loaders

from cloud.filters import page
from cloud.machine_types import machine_type
from cloud.prices import (
    ADDRESS_PER_HOUR,
    ON_DEMAND_PER_HOUR,
    VOLUME_PER_GB_MONTH,
    listed_per_hour,
)
from cloud.refusals import Refusal, not_simulated
from cloud.resources import Region
from cloud.world import World

PAGE = 100


def get_products(_: World, __: Region, asked: dict[str, Any]) -> dict[str, Any]:
    service = asked.get("ServiceCode")
    if service not in ("AmazonEC2", "AmazonVPC"):
        raise not_simulated("GetProducts", details=f"for {service}")
    wanted = [_wanted(one) for one in asked.get("Filters", [])]
    found = [
        product for product in products() if _matches(product, [("servicecode", service), *wanted])
    ]
    size = min(asked.get("MaxResults", PAGE), PAGE)
    shown, token = page(found, {"NextToken": asked.get("NextToken")}, size=size)
    answer = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(one) for one in shown]}
    return {**answer, "NextToken": token} if token else answer


def _wanted(given: dict[str, str]) -> tuple[str, str]:
    if given.get("Type") != "TERM_MATCH":
        raise not_simulated("GetProducts", details=f"with filters of the type {given.get('Type')}")
    if not given.get("Value"):
        raise Refusal("InvalidParameterException", "A filter needs a value")
    return given["Field"], given["Value"]


def _matches(product: dict[str, Any], wanted: list[tuple[str, str]]) -> bool:
    attributes = {
        **product["product"]["attributes"],
        "productFamily": product["product"]["productFamily"],
    }
    return all(attributes.get(field) == value for field, value in wanted)


@functools.cache
def products() -> tuple[dict[str, Any], ...]:
    """The whole price list, as the service gives it."""
    return tuple(product for region in _locations() for product in _of_region(region))


def _of_region(region: str) -> Iterator[dict[str, Any]]:
    for name in ON_DEMAND_PER_HOUR:
        price = listed_per_hour(name, region) or 0.0
        yield _machine(name, region, price)
        # What the price list has as well, for callers that do not say which one they mean.
        yield _machine(name, region, price * 2, operatingSystem="Windows")
        yield _machine(name, region, price * 1.1, tenancy="Dedicated")
        yield _machine(name, region, 0.0, capacitystatus="AllocatedCapacityReservation")
    yield _product(
        "AmazonEC2",
        "Storage",
        region,
        {"volumeApiName": "gp3", "usagetype": "EBS:VolumeUsage.gp3"},
        VOLUME_PER_GB_MONTH,
        "GB-Mo",
    )
    yield _product(
        "AmazonVPC",
        "VpcPublicIPv4Address",
        region,
        {"group": "VPCPublicIPv4Address", "usagetype": "PublicIPv4:InUseAddress"},
        ADDRESS_PER_HOUR,
        "Hrs",
    )


def _machine(name: str, region: str, price: float, **different: str) -> dict[str, Any]:
    known = machine_type(name)
    attributes = {
        "instanceType": name,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "licenseModel": "No License required",
        "operation": "RunInstances",
        "vcpu": str(known["VCpuInfo"]["DefaultVCpus"]),
        "memory": f"{known['MemoryInfo']['SizeInMiB'] / 1024:g} GiB",
        **different,
    }
    return _product("AmazonEC2", "Compute Instance", region, attributes, price, "Hrs")


def _product(
    service: str, family: str, region: str, attributes: dict[str, str], price: float, unit: str
) -> dict[str, Any]:
    every = {
        "servicecode": service,
        "regionCode": region,
        "location": _locations()[region],
        "locationType": "AWS Region",
        **attributes,
    }
    sku = f"{abs(hash(tuple(sorted(every.items())))):016X}"[:16]
    dimension = {
        "unit": unit,
        "beginRange": "0",
        "endRange": "Inf",
        "pricePerUnit": {"USD": f"{price:.10f}"},
    }
    term = {
        "sku": sku,
        "offerTermCode": "JRTCKXETXF",
        "effectiveDate": "2025-01-01T00:00:00Z",
        "termAttributes": {},
        "priceDimensions": {f"{sku}.JRTCKXETXF.6YS6EN2CT7": dimension},
    }
    return {
        "product": {"productFamily": family, "sku": sku, "attributes": every},
        "serviceCode": service,
        "terms": {"OnDemand": {f"{sku}.JRTCKXETXF": term}},
        "version": "20250101000000",
        "publicationDate": "2025-01-01T00:00:00Z",
    }


@functools.cache
def _locations() -> dict[str, str]:
    """Region → its name in the price list, which says EU where the console says Europe."""
    endpoints = botocore.loaders.create_loader().load_data("endpoints")
    regions = endpoints["partitions"][0]["regions"]
    return {
        name: str(region["description"]).replace("Europe", "EU") for name, region in regions.items()
    }
