"""What nodes cost: on demand from AWS's Price List, spot from its price history; unknown is said to be unknown."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloister.config.ec2_spec import MachineSpec
from cloister.config.spec import ClusterSpec
from cloister.durable import read_json, write_json
from cloister.errors import ProviderError
from cloister.plan.observed import Bill
from cloister.providers.ec2.api import Aws
from cloister.providers.ec2.launch.batches import machine_of
from cloister.providers.ec2.observing import Instance
from cloister.providers.ec2.tags import Identity

FILE = "prices.json"
_FRESH_S = 7 * 24 * 3600.0
# Dollars per hour of each public IPv4 address, since February 2024, in every region.
ADDRESS_PER_HOUR = 0.005
# Dollars per GiB and month of gp3 in most regions; a month has 730 hours at AWS.
DISK_PER_GIB_MONTH = 0.08
_HOURS_PER_MONTH = 730.0
# The Price List service is not in every region; its answers are about all.
SERVICE_REGION = "us-east-1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Price:
    """Dollars per hour of one machine, and when AWS said so (Unix seconds)."""

    dollars: float
    asked: float


class Prices:
    """Prices by market, region and machine type, kept in a file of this user for a week."""

    def __init__(self, aws: Aws, folder: Path) -> None:
        self._aws = aws
        self._path = folder / FILE
        data = read_json(self._path)
        self._known: dict[str, Any] = data if isinstance(data, dict) else {}
        # When AWS told the oldest of the prices that were asked for here, in Unix seconds.
        self.asked: float | None = None
        # What AWS does not say, which is asked for once, not for each node.
        self._unknown: set[str] = set()

    def of(self, market: str, region: str, machine: str) -> Price | None:
        """None when AWS does not say."""
        price = self._found(market, region, machine)
        if price is not None:
            self.asked = min(price.asked, self.asked or price.asked)
        return price

    def _found(self, market: str, region: str, machine: str) -> Price | None:
        key = f"{market}/{region}/{machine}"
        kept = self._kept(key)
        if kept is not None:
            return kept
        if key in self._unknown:
            return None
        try:
            ask = self._spot if market == "spot" else self._on_demand
            dollars = ask(region, machine)
        except ProviderError:
            # Not permitted or not reachable: no reason not to launch.
            dollars = None
        if dollars is None:
            self._unknown.add(key)
            return None
        price = Price(dollars=dollars, asked=time.time())
        self._known[key] = dataclasses.asdict(price)
        self._save()
        return price

    def _kept(self, key: str) -> Price | None:
        try:
            price = Price(**self._known[key])
            return price if time.time() - price.asked < _FRESH_S else None
        except (KeyError, TypeError):
            return None

    def _save(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(self._path, self._known)
        except OSError:
            # Only a cache.
            return

    def _on_demand(self, region: str, machine: str) -> float | None:
        wanted = {
            "instanceType": machine,
            "regionCode": region,
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
        }
        filters = [
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in wanted.items()
        ]
        products = self._aws.pages(
            SERVICE_REGION,
            "get_products",
            "PriceList",
            service="pricing",
            ServiceCode="AmazonEC2",
            Filters=filters,
        )
        found = [price for product in products for price in _hourly(product)]
        return min(found) if found else None

    def _spot(self, region: str, machine: str) -> float | None:
        """The dearest zone's present price: the node may come to stand there."""
        reply = self._aws.asked(
            region,
            "describe_spot_price_history",
            InstanceTypes=[machine],
            ProductDescriptions=["Linux/UNIX"],
            StartTime=time.time(),
        )
        found = [float(entry["SpotPrice"]) for entry in reply.get("SpotPriceHistory") or ()]
        return max(found) if found else None


def gigabytes(machine: MachineSpec) -> int:
    """GiB of a node's volumes, as far as they are configured."""
    return (machine.disk or 0) + (machine.swap or 0)


def bill(
    prices: Prices, found: Sequence[Instance], now: float, spec: ClusterSpec | None
) -> Bill | None:
    """Of the latest cluster among these, the ended nodes too: machines, addresses, and the disks of `spec`."""
    if not found:
        return None
    latest = max(found, key=lambda instance: instance.launched).identity
    found = [instance for instance in found if _uid(instance.identity) == _uid(latest)]
    per_hour: list[float | None] = []
    so_far: list[float | None] = []
    for instance in found:
        price = prices.of(
            "spot" if instance.spot else "on-demand", instance.region, instance.machine
        )
        dollars = price.dollars + ADDRESS_PER_HOUR if price else None
        if dollars is not None and spec is not None and instance.roles[0] in spec.roles:
            dollars += disk_per_hour(gigabytes(machine_of(spec, instance.roles[0])))
        hours = max(0.0, (instance.ended or now) - instance.launched) / 3600
        so_far.append(None if dollars is None else dollars * hours)
        if not instance.is_gone:
            per_hour.append(dollars)
    return Bill(
        since=min(instance.launched for instance in found),
        expires=_first_end(found),
        dollars_per_hour=_total(per_hour),
        dollars=_total(so_far),
    )


def _first_end(found: Sequence[Instance]) -> float:
    """When the first living node ends; a lease that was prolonged may not have been told to all."""
    living = [i.identity.expires for i in found if i.identity and not i.is_gone]
    return (
        min(living) if living else max((i.identity.expires for i in found if i.identity), default=0)
    )


def _uid(identity: Identity | None) -> str:
    return identity.uid if identity else ""


def _total(amounts: Sequence[float | None]) -> float | None:
    """None if one of them is not known: a sum without it would be too low."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _hourly(product: str | Mapping[str, Any]) -> Iterator[float]:
    """The prices per hour of one product of the Price List, which are above zero."""
    entry = json.loads(product) if isinstance(product, str) else product
    for term in entry.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            dollars = float(dimension.get("pricePerUnit", {}).get("USD", 0))
            if dimension.get("unit") == "Hrs" and dollars > 0:
                yield dollars


def disk_per_hour(gib: int) -> float:
    return gib * DISK_PER_GIB_MONTH / _HOURS_PER_MONTH
