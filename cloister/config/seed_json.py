"""The flat JSON of the first cloister, as a cluster of today: the same machines without their dangers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from cloister.config.located import Located
from cloister.config.problems import Place

# What only such a file has at its top.
_MARKS = ("cluster_name", "nworkers", "identity_file", "instance_type")
_MARKS_MIN = 3
_DEFAULT_TAG = "clamor"
_NAME_MAX = 39

_UNSAFE = (
    "unsafe, not done: security groups open to the world (SSH comes from your own address only),"
    " and the private key copied to a node"
)
# Key → what is said of it.
_UNUSED = {
    "servers_file": "the names of the workers are in servers/servers.txt",
    "datagen_instance_ip": "nothing uses it",
}
_USED = frozenset(
    (
        "cluster_name",
        "nworkers",
        "identity_file",
        "key_pair",
        "user",
        "instance_type",
        "driver_instance_type",
        "ami",
        "ami_tag",
        "region",
        "root_size",
        "driver_file",
        "master_file",
        "ami_instance_ip",
        "swap_size_driver",
    )
)
# What the original's redeploy had in its code, in the end.
_FOLDERS = ("clamor", "weld", "cloister", ".bashrc")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Converted:
    """`notes` say, in a line each, what of the file is ignored or was unsafe."""

    tree: Located
    notes: tuple[str, ...]


def is_seed(tree: Located) -> bool:
    table = tree.value
    if not isinstance(table, Mapping) or "cluster" in table:
        return False
    return sum(mark in table for mark in _MARKS) >= _MARKS_MIN


def converted(tree: Located) -> Converted:
    """Every value keeps its place, so that what is wrong with it is still said where it stands."""
    assert isinstance(tree.value, Mapping)
    given = dict(tree.value)
    maker = _Maker(tree.place)
    driver = "master" if "master_file" in given and "driver_file" not in given else "driver"
    name, notes = _name(given.get("cluster_name"))
    roles = {
        driver: maker.table(
            count=1,
            machine=_truthy(given.get("driver_instance_type")),
            swap=_truthy(given.get("swap_size_driver")),
        ),
        "manager": maker.table(same_as=driver),
        "workers": maker.table(count=given.get("nworkers", 1)),
    }
    ec2 = maker.table(
        region=given.get("region"),
        machine=given.get("instance_type"),
        image=maker.table(ami=given.get("ami"), ami_tag=_tag(given)),
        disk=given.get("root_size"),
        key_pair=given.get("identity_file"),
        development=maker.development(_truthy(given.get("ami_instance_ip"))),
    )
    cluster = maker.table(
        name=name,
        provider="ec2",
        roles=maker.table(**roles),
        ec2=ec2,
        ssh=maker.table(user=given.get("user"), key=given.get("key_pair")),
    )
    notes += [f"{key}: ignored; {_UNUSED[key]}" for key in given if key in _UNUSED]
    notes += [f"{key}: ignored, cloister never knew it" for key in given if _is_unknown(key)]
    return Converted(tree=maker.table(cluster=cluster), notes=(*notes, _UNSAFE))


class _Maker:
    """Tables whose values without a place of their own stand where the file begins."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def table(self, **entries: Any) -> Located:
        present = {key: value for key, value in entries.items() if value is not None}
        return Located(
            place=self._place,
            value={
                key: value
                if isinstance(value, Located)
                else Located(place=self._place, value=value)
                for key, value in present.items()
            },
        )

    def development(self, address: Located | None) -> Located | None:
        if address is None:
            return None
        folders = tuple(Located(place=self._place, value=name) for name in _FOLDERS)
        return self.table(address=address, folders=Located(place=self._place, value=folders))


def _name(given: Located | None) -> tuple[Located | None, list[str]]:
    if given is None or not isinstance(given.value, str):
        return given, []
    name = plain_name(given.value)
    if name == given.value:
        return given, []
    return dataclasses.replace(given, value=name), [renamed("cluster_name", given.value)]


def renamed(what: str, text: str) -> str:
    """The note about a name that is another one today."""
    return (
        f"{what}: {text!r} is called {plain_name(text)!r}, as names have lower-case letters, digits"
        " and dashes"
    )


def plain_name(text: str) -> str:
    """A name as it can be today: lower case, dashes, a letter first; as it is where nothing remains."""
    plain = re.sub(r"[^a-z0-9-]+", "-", text.lower())
    # Digits at its end stay: they tell one cluster from another.
    return plain.lstrip("-0123456789")[:_NAME_MAX].rstrip("-") or text


def _tag(given: Mapping[str, Located]) -> Located | str | None:
    ami = given.get("ami")
    if ami is None or ami.value != "latest":
        return None
    return given.get("ami_tag") or _DEFAULT_TAG


def _truthy(given: Located | None) -> Located | None:
    return given if given is not None and given.value else None


def _is_unknown(key: str) -> bool:
    return key not in _USED and key not in _UNUSED
